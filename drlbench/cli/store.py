"""The command line's verbs that look after the store of stage results: verify, cache ls, cache gc."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

StoreOption = Annotated[Path, typer.Option("--store", envvar="DRLBENCH_STORE", help="Folder of stage results.")]
DEFAULT_STORE = Path(".drlbench")

cache = typer.Typer(no_args_is_help=True, help="Look after the store of stage results.")


def verify(
    folder: Annotated[Path, typer.Argument(help="A run's folder, e.g. reports/digits.")],
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Compare every stored artefact of a run with its checksum; exit code 5 when one does not match."""
    from drlbench.run.events import run_keys
    from drlbench.store import atomic
    from drlbench.store.layout import Store

    keys = run_keys(folder)
    for kind, key in keys:
        atomic.check(Store(store).folder(kind, key), key)
    print(f"{len(keys)} artefacts match their checksums")


@cache.command("ls")
def cache_ls(store: StoreOption = DEFAULT_STORE) -> None:
    """List what the store holds, by kind."""
    from drlbench.store.layout import Store

    print(Store(store).usage())


@cache.command("gc")
def cache_gc(
    keep: Annotated[list[Path], typer.Option("--keep", help="Run folders whose artefacts stay.")],
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Delete every artefact that none of the kept runs uses."""
    from drlbench.run.events import run_keys
    from drlbench.store.layout import Store

    wanted = {key for folder in keep for _, key in run_keys(folder)}
    print(Store(store).collect_garbage(wanted))
