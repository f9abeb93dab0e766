"""What a shell offers after Tab: suites, folders of runs, cells, encoders and metrics.

Nothing here may bring torch in: a shell waits for it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from drlbench.errors import UserError


def suites(incomplete: str) -> list[str]:
    """Names of shipped suites, YAML files and folders that begin so."""
    from drlbench.suite.shipped import described_suites

    return [
        *(name for name in described_suites() if name.startswith(incomplete)),
        *_paths(incomplete, (".yaml", ".yml")),
    ]


def runs(incomplete: str) -> list[str]:
    """Folders that begin so, those of runs first; without a beginning also the runs under reports/."""
    found = _paths(incomplete, ()) + ([] if incomplete else _paths("reports/", ()))
    return sorted(found, key=lambda name: not (Path(name) / "run.json").is_file())


def cells(ctx: typer.Context, incomplete: str) -> list[str]:
    """Ids of the cells of the suite or run that the command line names before them."""
    parsed = [ctx.params[name] for name in ("suite", "run", "first", "checkpoint") if ctx.params.get(name)]
    given = [*ctx.args, *parsed, "digits"][0]  # behind an option without its value nothing is parsed
    return [cell for cell in _cells_of(given) if cell.startswith(incomplete)]


def encoders(incomplete: str) -> list[str]:
    """Encoders that `eval` can take by name; after a comma the next one."""
    from drlbench.registry import ENCODERS

    # A small encoder is fitted by a suite: there are no weights to be had by its name.
    return _listed([name for name in ENCODERS.names() if not name.startswith("small-")], incomplete)


def metrics(incomplete: str) -> list[str]:
    """Metrics and rewards that `eval` measures; after a comma the next one."""
    from drlbench.registry import METRICS, REWARDS

    return _listed([*METRICS.names(), *REWARDS.names()], incomplete)


def _listed(names: list[str], incomplete: str) -> list[str]:
    before, comma, last = incomplete.rpartition(",")
    taken = before.split(",")
    return [f"{before}{comma}{name}" for name in names if name.startswith(last) and name not in taken]


def _cells_of(source: str | Path) -> list[str]:
    from drlbench.report.record import FILE, read_record
    from drlbench.suite.cells import cells as of_suite
    from drlbench.suite.document import read_document
    from drlbench.suite.schema import SuiteSpec
    from drlbench.suite.shipped import find_suite

    try:
        if (Path(source) / FILE).is_file():
            return [cell.id for cell in read_record(Path(source) / FILE).cells]
        return [cell.id for cell in of_suite(SuiteSpec.model_validate(read_document(find_suite(source), ()).values))]
    except (UserError, ValueError):  # no suite or run, or a faulty one: the command itself says what is wrong
        return []


def _paths(incomplete: str, endings: tuple[str, ...]) -> list[str]:
    here = Path(incomplete or ".")
    folder = here if incomplete.endswith("/") or not incomplete else here.parent
    found = sorted(p for p in folder.iterdir() if not p.name.startswith(".")) if folder.is_dir() else []
    names = [f"{p}/" if p.is_dir() else str(p) for p in found if p.is_dir() or p.suffix in endings]
    return [name for name in names if name.startswith(incomplete)]


SuitePath = Annotated[
    Path, typer.Argument(help="A suite file, or a name that `list suites` shows.", autocompletion=suites)
]
RunPath = Annotated[Path, typer.Argument(help="A run's folder, e.g. reports/digits.", autocompletion=runs)]
CellsOption = Annotated[
    list[str],
    typer.Option("--cells", help="Only cells whose id matches this pattern, or one of several.", autocompletion=cells),
]
