"""The command line's verbs that make a machine ready for a run: doctor, fetch."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Annotated

import typer

from drlbench.cli import complete
from drlbench.cli.complete import SuitePath
from drlbench.cli.options import OfflineOption, SetOption, offline_from_now
from drlbench.cli.store import DEFAULT_STORE, StoreOption
from drlbench.errors import for_terminal


def doctor(
    suite: Annotated[
        Path | None,
        typer.Argument(help="Also look for the weights and images of this suite.", autocompletion=complete.suites),
    ] = None,
    store: StoreOption = DEFAULT_STORE,
    device: Annotated[str | None, typer.Option("--device", help="cpu or cuda (default: what is here).")] = None,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Processes that shall run.")] = None,
    address: Annotated[str | None, typer.Option("--address", help="Also try to join this Ray cluster.")] = None,
) -> None:
    """Show versions and hardware, and everything that would stop a run here with what mends it; exit code 6 then."""
    from drlbench.run.doctor import Question, troubles
    from drlbench.run.executors.local import default_workers
    from drlbench.run.machine import diagnose
    from drlbench.suite.load import load_suite

    print(diagnose(), flush=True)
    loaded = load_suite(suite) if suite is not None else None
    found = list(troubles(Question(store, device, workers or default_workers(device or "cpu"), address, loaded)))
    for trouble in found:
        print(for_terminal(trouble.to_text()))
    if found:
        raise typer.Exit(6)
    print("nothing here would stop a run")


def fetch(
    suite: SuitePath,
    overrides: SetOption = [],  # noqa: B006 - typer reads the default and never changes it
    into: Annotated[
        Path | None, typer.Option("--into", help="A folder to carry to machines without network, or that they share.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Fetch nothing: compare what is here with its checksums (exit 5, 6).")
    ] = False,
    offline: OfflineOption = False,
) -> None:
    """Bring every weights file of a suite to the cache, for machines without network."""
    where = {}
    if into is not None:
        # Before anything of the Hub is imported: it reads these once.
        where = {"HF_HOME": str(into.absolute() / "huggingface"), "DRLBENCH_CACHE": str(into.absolute() / "weights")}
        os.environ.update(where)
    if offline or check:
        offline_from_now()
    from drlbench.plan.prerequisites import fetch as bring
    from drlbench.run.progress import bars
    from drlbench.suite.load import load_suite

    loaded = load_suite(suite, tuple(overrides))
    with bars() as tell:
        lines = bring(loaded, lambda asset, done: tell(asset.name, done))
    print("\n".join(lines) or "this suite needs no weights from outside")
    if where:
        print("on the machines without network, with the folder at the same place:")
        print("\n".join(f"  export {name}={shlex.quote(value)}" for name, value in where.items()))
        print("  export HF_HUB_OFFLINE=1")
