"""What a shell offers after Tab: shipped suites and suite files, folders of runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


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
