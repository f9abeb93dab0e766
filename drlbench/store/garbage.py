"""Deleting from a store that others use: never what a live run needs, and whole again after a kill at any point.

A folder leaves the store by one rename into the trash, marker and data together; the trash of a killed deletion is
emptied by the next run or deletion.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from drlbench.errors import UserError
from drlbench.store import atomic, lease
from drlbench.store.disk import size
from drlbench.store.layout import Store, folder_size

RESERVED = ("partial", "leases", "users", "trash")


def collect_garbage(store: Store, wanted: set[str]) -> str:
    """Delete every result whose key neither `wanted` nor a live run names, and whatever kills have left.

    Returns:
        What was done, in a line or two.

    Raises:
        UserError: there is no store.
    """
    if not store.root.is_dir():
        raise UserError(f"{store.root}: no store here; give the folder with --store")
    removed = left = freed = 0
    for folder, leftover in _candidates(store, wanted):
        bytes_ = folder_size(folder) if folder.is_dir() else 0
        with store.settled():
            if _key(folder) in in_use(store):
                continue
            store.discard(folder)
        removed, left, freed = removed + (not leftover), left + leftover, freed + bytes_
    for grave in store.trash.glob("*"):
        shutil.rmtree(grave, ignore_errors=True)
    kept = len(in_use(store) - wanted)
    said = f"{removed} results deleted, {left} leftovers cleared, {size(freed)} freed"
    return said + (f"\n{kept} further stages belong to runs that are under way and were kept" if kept else "")


def _candidates(store: Store, wanted: set[str]) -> Iterator[tuple[Path, bool]]:
    """(folder, whether it is a leftover rather than a result) of everything that may go."""
    for folder in sorted(store.root.glob("*/*/*")):
        kind = folder.parent.parent.name
        if kind in RESERVED or not folder.is_dir():
            continue
        if folder.name.startswith(".") or not atomic.is_complete(folder):
            yield folder, True
        elif folder.name not in wanted:
            yield folder, False
    finished = {folder.name for _, folder in store.entries()}
    for folder in sorted((store.root / "partial").glob("*")):
        if folder.name not in wanted or folder.name in finished:
            yield folder, True


def _key(folder: Path) -> str:
    """The key of a result's folder, or of the temporary one beside it (`.<key>.<random>.tmp`)."""
    return folder.name.lstrip(".").split(".")[0]


def in_use(store: Store) -> set[str]:
    """Keys that live runs use or make; leases and entries of dead ones are removed."""
    found: set[str] = set()
    for path in [*store.users.glob("*.json"), *(store.root / "leases").glob("*")]:
        if lease.is_over(path):
            with suppress(lease.Held):
                lease.evict(path)
        owner = lease.read_owner(path)  # None: just being written
        if owner is None and not path.exists():
            continue
        found |= {*(owner.keys if owner else ()), path.name}
    return found
