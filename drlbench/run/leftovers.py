"""What an earlier run has left in its folder and this one did not write again: pictures of cells that are gone."""

from __future__ import annotations

from pathlib import Path

from drlbench.store import manifest

Snapshot = dict[str, tuple[int, int]]


def snapshot(folder: Path) -> Snapshot:
    """Every file that a run or its report wrote, by name: inode and time. Writers replace files, so both change."""
    found: Snapshot = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and (manifest.measured(name) or manifest.made(name)):
            about = path.stat()
            found[name] = (about.st_ino, about.st_mtime_ns)
    return found


def clear_stale(folder: Path, before: Snapshot) -> list[str]:
    """Delete what was there before and has not been written since; names it."""
    stale = sorted(name for name, about in snapshot(folder).items() if before.get(name) == about)
    for name in stale:
        (folder / name).unlink()
    return stale
