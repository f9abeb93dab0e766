"""The command line's verbs that look after the store of stage results: verify, cache ls, cache gc."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from drlbench.store.layout import Store

StoreOption = Annotated[Path, typer.Option("--store", envvar="DRLBENCH_STORE", help="Folder of stage results.")]
DEFAULT_STORE = Path(".drlbench")

cache = typer.Typer(no_args_is_help=True, help="Look after the store of stage results.")


def verify(
    folder: Annotated[Path, typer.Argument(help="A run's folder, e.g. reports/digits.")],
    store: StoreOption = DEFAULT_STORE,
    peers: Annotated[
        bool, typer.Option("--peers", help="Also measure its FID by torch-fidelity and clean-fid, on its own images.")
    ] = False,
) -> None:
    """Compare every file of a run's folder and of its stages with its checksum; exit code 5 when one does not match."""
    from drlbench.run.events import run_keys
    from drlbench.store import atomic, manifest
    from drlbench.store.layout import Store

    beside = manifest.check(folder)
    keys = run_keys(folder)
    for kind, key in keys:
        atomic.check(Store(store).folder(kind, key), key)
    print(f"{len(keys)} artefacts match their checksums")
    if beside is None:
        print("the run's folder was written before manifests: its files have nothing to be compared with")
    else:
        print("the files of the run's folder match their checksums")
    for name in beside or []:
        print(f"not part of the run: {name}")
    if peers:
        _by_peers(folder, Store(store))


def _by_peers(folder: Path, store: Store) -> None:
    from drlbench.evaluate.peers import check_agreement, to_csv
    from drlbench.evaluate.run_peers import compare_run
    from drlbench.run.progress import bars

    with bars() as tell:
        measured = compare_run(folder, store, tell)
    print(f"\n{measured.what}, against the held-out images; the run's own fd_val: {measured.own}")
    print(to_csv(measured.found), end="")
    measured.check()
    check_agreement(measured.found)


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
    from drlbench.store.garbage import collect_garbage
    from drlbench.store.layout import Store

    wanted = {key for folder in keep for _, key in run_keys(folder)}
    print(collect_garbage(Store(store), wanted))
