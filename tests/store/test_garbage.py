"""Deleting from a store spares what live runs use, clears what kills left, and heals after a kill of its own."""

from __future__ import annotations

import os
from pathlib import Path

from drlbench.store import atomic, lease
from drlbench.store.garbage import collect_garbage
from drlbench.store.layout import Store

KEYS = ("aa" + "0" * 62, "bb" + "0" * 62)


def filled(root: Path) -> Store:
    store = Store(root)
    for key in KEYS:
        with atomic.artefact(store.folder("encoder", key), {"key": key}) as out:
            (out / "data").write_bytes(b"1234")
    return store


def test_what_a_live_run_uses_stays(tmp_path: Path) -> None:
    store = filled(tmp_path)
    with store.used_by_this_run([KEYS[0]]):
        said = collect_garbage(store, set())
    assert "1 results deleted" in said and "were kept" in said
    assert store.has("encoder", KEYS[0]) and not store.has("encoder", KEYS[1])
    collect_garbage(store, set())
    assert not store.has("encoder", KEYS[0])


def test_leftovers_of_kills_are_cleared_and_work_under_way_is_not(tmp_path: Path) -> None:
    store = filled(tmp_path)
    scratch = store.folder("encoder", KEYS[0]).parent / f".{'aa' + '1' * 62}.x.tmp"
    unmarked = store.folder("encoder", "aa" + "2" * 62)
    busy, dead = store.partial("cc" + "0" * 62), store.partial("dd" + "0" * 62)
    for folder in (scratch, unmarked, busy, dead):
        folder.mkdir(parents=True)
        (folder / "part").write_bytes(b"x")
    own = lease.acquire(store.lease(busy.name))
    said = collect_garbage(store, set(KEYS))
    assert "0 results deleted, 3 leftovers cleared" in said
    assert busy.is_dir() and not any(f.exists() for f in (scratch, unmarked, dead))
    own.release()


def test_data_without_a_marker_is_made_anew(tmp_path: Path) -> None:
    store = filled(tmp_path)
    folder = store.folder("encoder", KEYS[0])
    (folder / atomic.MARKER).unlink()
    assert not store.has("encoder", KEYS[0])
    with atomic.artefact(folder, {"key": KEYS[0]}) as out:
        (out / "data").write_bytes(b"5678")
    atomic.check(folder, KEYS[0])


def test_a_runs_entry_that_a_kill_cut_is_cleared_by_the_next_run(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.users.mkdir(parents=True)
    young, old = store.users / "young.json", store.users / "old.json"
    for entry in (young, old):
        entry.touch()  # killed between making the file and naming itself in it
    past = old.stat().st_mtime - 10 * lease.GRACE
    os.utime(old, (past, past))
    with store.used_by_this_run([KEYS[0]]):
        assert young.exists() and not old.exists()
        os.utime(young, (past, past))  # time goes by
    assert list(store.users.iterdir()) == []
