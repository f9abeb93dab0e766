"""The command line's verbs about suite files, which make nothing: validate, plan, list, schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from drlbench.cli import complete
from drlbench.cli.complete import CellsOption, SuitePath
from drlbench.cli.options import JsonOption, SetOption
from drlbench.cli.store import DEFAULT_STORE, StoreOption
from drlbench.errors import UserError, did_you_mean, shown
from drlbench.garbage import uncollected

if TYPE_CHECKING:
    from drlbench.plan.graph import Plan


def validate(
    suites: Annotated[list[Path], typer.Argument(help="Suite files.", autocompletion=complete.suites)],
    overrides: SetOption = [],  # noqa: B006 - typer reads the default and never changes it
) -> None:
    """Check suite files; every mistake is told with file:line:column."""
    from drlbench.suite.load import load_suite

    errors = []
    for path in suites:
        try:
            loaded = load_suite(path, tuple(overrides))
            absent = "; its images are not here, so nothing was held against them" if loaded.images.absent else ""
            print(f"{shown(path)}: ok, {len(loaded.cells):,} cells{absent}")
        except UserError as error:
            errors.append(str(error))
    if errors:
        raise UserError("\n".join(errors))


def plan(
    suite: SuitePath = Path("digits"),
    store: StoreOption = DEFAULT_STORE,
    overrides: SetOption = [],  # noqa: B006 - typer reads the default and never changes it
    cells: CellsOption = [],  # noqa: B006 - typer reads the default and never changes it
    device: Annotated[
        str | None, typer.Option("--device", help="cpu or cuda, to estimate for (default: what is here).")
    ] = None,
    gpus: Annotated[int | None, typer.Option("--gpus", min=1, help="Estimate for so many GPUs of each node.")] = None,
    nodes: Annotated[int, typer.Option("--nodes", min=1, help="Machines with so many GPUs (or workers) each.")] = 1,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Processes (default: one per GPU, or per core on cpu).")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the stages, what is cached or missing, what it will cost, and what each --set saves."""
    from rich.console import Console

    from drlbench.cost.table import cost_table
    from drlbench.plan.pipeline import lay_out
    from drlbench.plan.prerequisites import has_gpu
    from drlbench.run.executors.local import default_workers
    from drlbench.store.bucket import open_store
    from drlbench.suite.load import load_suite

    if device not in (None, "cpu", "cuda"):
        raise UserError(f"--device {device!r}: valid are cpu and cuda")
    if gpus and device == "cpu":
        raise UserError("--gpus counts GPUs; with --device cpu give --workers")
    loaded = load_suite(suite, tuple(overrides))
    where = device or ("cuda" if gpus or has_gpu() else "cpu")
    each = gpus or workers or default_workers(where)
    whole = lay_out(loaded, absent_ok=True) if cells else None
    without: dict[str, Plan | None] = {}
    for one in overrides:
        others = tuple(text for text in overrides if text != one)
        try:
            without[one] = lay_out(load_suite(suite, others), *cells, absent_ok=True)
        except UserError:
            without[one] = None
    chosen = lay_out(loaded, *cells, absent_ok=True)
    with uncollected():
        table = cost_table(chosen, open_store(store), where, nodes * each, whole, nodes, without)
    if as_json:
        print(json.dumps(table.to_json(), indent=1))
    else:
        table.show(Console())


def list_names(kind: Annotated[str | None, typer.Argument(help="backbones, rewards, ...")] = None) -> None:
    """List what a suite can name, drlbench's own and plug-ins'."""
    from drlbench.backbones.listing import LISTINGS
    from drlbench.registry import REGISTRIES
    from drlbench.suite.shipped import described_suites

    valid = [*REGISTRIES, *LISTINGS, "suites"]
    if kind is not None and kind not in valid:
        raise UserError(f"unknown kind {kind!r}{did_you_mean(kind, valid)}; valid: {', '.join(valid)}")
    for name, registry in REGISTRIES.items():
        if kind in (None, name):
            print(f"{name}: {', '.join(registry.names())}")
    for name, lines in LISTINGS.items():
        if kind == name:
            print("\n".join(lines()))
        elif kind is None:
            heads = [line.partition(":")[0] for line in lines() if not line.startswith(" ")]
            print(f"{name}: {', '.join(heads)}   (`drlbench list {name}` says more)")
    if kind in (None, "suites"):
        suites = described_suites()
        print("suites: " + ", ".join(suites) if kind is None else "\n".join(f"{n}: {t}" for n, t in suites.items()))


def schema(
    what: Annotated[str, typer.Argument(help="suite, run or results")] = "suite",
    markdown: Annotated[bool, typer.Option("--markdown", help="Of suite: docs/suite.md.")] = False,
) -> None:
    """Print the JSON schema of suite files or of run.json, or the columns of results.csv."""
    if what == "suite":
        from drlbench.suite.handbook import handbook, schema_text

        print(handbook() if markdown else schema_text(), end="")
    elif what == "run":
        from drlbench.report.record import RunRecord

        print(json.dumps(RunRecord.model_json_schema(), indent=1))
    elif what == "results":
        from drlbench.report.results import COLUMNS

        print(",".join(COLUMNS))
    else:
        valid = ["suite", "run", "results"]
        raise UserError(f"unknown schema {what!r}{did_you_mean(what, valid)}; valid: {', '.join(valid)}")
