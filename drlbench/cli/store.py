"""The command line's verbs that look after the store of stage results: verify, cache ls, cache gc."""

from __future__ import annotations

import hashlib
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from drlbench.cli import complete
from drlbench.cli.complete import RunPath
from drlbench.errors import IntegrityError, MissingPrerequisite, for_terminal, shown

if TYPE_CHECKING:
    from drlbench.store.layout import Store

StoreOption = Annotated[
    Path, typer.Option("--store", envvar="DRLBENCH_STORE", help="Folder of stage results, or s3://bucket/prefix.")
]
DEFAULT_STORE = Path(".drlbench")

cache = typer.Typer(no_args_is_help=True, help="Look after the store of stage results.")


def verify(
    folder: RunPath,
    store: StoreOption = DEFAULT_STORE,
    mend: Annotated[
        bool, typer.Option("--repair", help="Make again what is damaged, and what was made from it: run --repair.")
    ] = False,
    peers: Annotated[
        bool, typer.Option("--peers", help="Also measure its FID by torch-fidelity and clean-fid, on its own images.")
    ] = False,
) -> None:
    """Compare every file of a run's folder and of its stages with its checksum; exit code 5 when one does not match."""
    from drlbench.report.record import FILE, read_record
    from drlbench.run.events import run_keys
    from drlbench.store import atomic, manifest
    from drlbench.store.bucket import open_store

    opened = open_store(store)

    def compare() -> tuple[list[str] | None, int, int]:
        beside, keys = manifest.check(folder), run_keys(folder)
        whole = read_record(folder / FILE).status in ("complete", "partial", "unknown")
        there = [k for k in keys if whole or opened.folder(*k).is_dir() or opened.has(*k)]
        for kind, key in there:
            atomic.check(opened.bring(kind, key), key)
        return beside, len(there), len(keys) - len(there)

    try:
        beside, count, absent = compare()
    except IntegrityError as error:
        if not mend:
            raise IntegrityError(
                f"{error}\nto make it again: drlbench verify {shlex.quote(str(folder))} --repair"
            ) from None
        print(for_terminal(error), file=sys.stderr)
        _make_again(folder, store)
        beside, count, absent = compare()
    print(f"{count} artefacts match their checksums")
    if absent:
        print(f"{absent} stages of this run were not made: it failed or was interrupted")
    if beside is None:
        print("the run's folder was written before manifests: its files have nothing to be compared with")
    else:
        print("the files of the run's folder match their checksums")
    for name in beside or []:
        print(f"not part of the run: {name}")
    if peers:
        _by_peers(folder, opened)


def _make_again(folder: Path, store: Path) -> None:
    """The run's own command once more, with --repair, on this folder and store.

    Raises:
        MissingPrerequisite: no command is on record, or its suite is not there as it was.
        typer.Exit: the run ended otherwise than well; its exit code.
    """
    from drlbench.report.record import FILE, read_record
    from drlbench.run.events import read_events
    from drlbench.suite.shipped import find_suite

    try:
        record = read_record(folder / FILE)
        command, suite_sha256 = record.command, record.suite_sha256
    except (IntegrityError, MissingPrerequisite):  # it is what is hurt; the log has the command, too
        command = next((e.command for e in reversed(read_events(folder)) if e.event == "run"), "")
        suite_sha256 = ""
    words = [word for word in shlex.split(command) if word != "--repair"]
    if words[:2] != ["drlbench", "run"]:
        raise MissingPrerequisite(f"{folder}: no command of a run is on record here; drlbench run SUITE --repair")
    suite = find_suite(words[2] if len(words) > 2 and not words[2].startswith("-") else "digits")
    if suite_sha256 and hashlib.sha256(suite.read_text(encoding="utf-8").encode()).hexdigest() != suite_sha256:
        raise MissingPrerequisite(
            f"{shown(suite)}: was changed after this run, whose results can no longer be made again from it"
        )
    again = [*words[1:], "--repair", "--store", str(store), "--out", str(folder)]
    print(f"repair: drlbench {shlex.join(again)}", file=sys.stderr, flush=True)
    if code := subprocess.run([sys.executable, "-m", "drlbench", *again], stdout=sys.stderr, check=False).returncode:
        raise typer.Exit(code)


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
    from drlbench.store.bucket import open_store

    print(open_store(store).usage())


@cache.command("gc")
def cache_gc(
    keep: Annotated[
        list[Path], typer.Option("--keep", help="Run folders whose artefacts stay.", autocompletion=complete.runs)
    ],
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Delete every artefact that none of the kept runs uses."""
    from drlbench.run.events import run_keys
    from drlbench.store.bucket import check_folder_store
    from drlbench.store.garbage import collect_garbage
    from drlbench.store.layout import Store

    check_folder_store(store)
    wanted = {key for folder in keep for _, key in run_keys(folder)}
    print(collect_garbage(Store(store), wanted))
