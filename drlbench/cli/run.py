"""The command line's verbs that make a run, and that follow one."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from drlbench.cli.complete import CellsOption, RunPath, SuitePath
from drlbench.cli.options import JsonOption, OfflineOption, SetOption, offline_from_now
from drlbench.cli.report import tell
from drlbench.cli.store import DEFAULT_STORE, StoreOption
from drlbench.errors import UserError
from drlbench.garbage import uncollected

if TYPE_CHECKING:
    from drlbench.suite.load import Suite


def run(
    suite: SuitePath = Path("digits"),
    out: Annotated[Path | None, typer.Option("--out", help="Run folder (default reports/<suite>).")] = None,
    store: StoreOption = DEFAULT_STORE,
    overrides: SetOption = [],  # noqa: B006 - typer reads the default and never changes it
    cells: CellsOption = [],  # noqa: B006 - typer reads the default and never changes it
    executor: Annotated[str, typer.Option("--executor", help="local, or ray (drlbench[ray]).")] = "local",
    address: Annotated[
        str | None, typer.Option("--address", help="Ray cluster: auto, HOST:PORT or ray://HOST:PORT (default: here).")
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Processes (default: one per GPU, or per core on cpu).")
    ] = None,
    device: Annotated[
        str | None, typer.Option("--device", help="cpu or cuda (default: cuda with --gpus, else cpu).")
    ] = None,
    gpus: Annotated[
        int | None, typer.Option("--gpus", min=1, help="Spread stages over so many GPUs (default: all, with cuda).")
    ] = None,
    ranks: Annotated[
        int, typer.Option("--ranks", min=1, help="Ranks of each fine-tune, one GPU each (processes on cpu).")
    ] = 1,
    tracker: Annotated[
        str | None, typer.Option("--tracker", help="Show fine-tunes live: tensorboard or wandb.")
    ] = None,
    offline: OfflineOption = False,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="First N cells only; the result is partial if there are more.")
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="First make again what is damaged, and what was made from it.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Run a suite; running it again continues it."""
    if offline:
        offline_from_now()
    device = device or ("cuda" if gpus else "cpu")
    from drlbench.run.machine import check_device, check_executor

    check_executor(executor, address)
    if not device.startswith("cuda"):  # that check brings torch in, which would keep the first line waiting
        check_device(device, gpus)
    print(f"{suite}: reading the suite; store {store}, on {device}", file=sys.stderr, flush=True)
    with uncollected():  # what is imported stays
        from drlbench.suite.load import load_suite

        loaded = load_suite(suite, tuple(overrides))
        folder = out or Path("reports") / loaded.spec.suite
        _announce(loaded, cells, folder)
        from drlbench.plan.pipeline import lay_out
        from drlbench.plan.prerequisites import check_ready
        from drlbench.run.executors import torchrun
        from drlbench.run.executors.local import default_workers
        from drlbench.run.perform import Options, perform
        from drlbench.store.bucket import open_store
        from drlbench.tracking import check_tracker

    if address is None:
        check_device(device, gpus, ranks)
    if tracker:
        check_tracker(tracker)
    check_ready(loaded, offline)
    command = shlex.join(["drlbench", *sys.argv[1:]])
    count = workers or default_workers(device, ranks, gpus)
    if executor == "ray":
        from drlbench.run.executors.ray import connect

        count = connect(address, count, device, ranks, gpus)
    options = Options(count, device, command, ranks, tracker, repair, executor, gpus)
    if torchrun.started():
        if gpus or ranks > 1:
            raise UserError("--gpus and --ranks start processes themselves; under torchrun leave them out")
        with torchrun.group(device) as rank:
            if rank > 0:
                return torchrun.serve(device)
            done = perform(
                loaded, lay_out(loaded, *cells, limit=limit), open_store(store), folder, replace(options, workers=1)
            )
    else:
        done = perform(loaded, lay_out(loaded, *cells, limit=limit), open_store(store), folder, options)
    headline = done.summary.in_short()
    if as_json:
        print(json.dumps({"run": str(folder), "status": done.record["status"], "headline": headline}, indent=1))
    else:
        tell(done.summary, folder)


def status(folder: RunPath, as_json: JsonOption = False) -> None:
    """Show how far a run is, from its events."""
    from drlbench.run.events import read_status

    state = read_status(folder)
    print(json.dumps(state.to_json(), indent=1) if as_json else state.to_text())


def _announce(suite: Suite, patterns: list[str], folder: Path) -> None:
    """What a run will make, and where."""
    from drlbench.suite.cells import cells, matches

    count = sum(matches(c.id, patterns) for c in cells(suite.spec))
    what = f"{suite.spec.suite}: {count} cells to {folder}; laying out their stages and counting what they cost"
    print(what, file=sys.stderr, flush=True)
