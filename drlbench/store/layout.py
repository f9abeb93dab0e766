"""Where things lie: the store of stage results, shared by all runs that name it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from drlbench.errors import Locked
from drlbench.store import atomic


@dataclass(frozen=True)
class Store:
    """A folder of stage results: `<root>/<kind>/<key[:2]>/<key>`, and `<root>/partial/<key>` for work under way."""

    root: Path

    def folder(self, kind: str, key: str) -> Path:
        """Where the result of a stage lies, finished or not."""
        return self.root / kind / key[:2] / key

    def partial(self, key: str) -> Path:
        """Where a stage keeps what it needs to go on after a kill; dropped when the stage is done."""
        return self.root / "partial" / key

    def has(self, kind: str, key: str) -> bool:
        """True when the result is there and was sealed."""
        return atomic.is_complete(self.folder(kind, key))

    def entries(self) -> Iterator[tuple[str, Path]]:
        """(kind, folder) of every finished result."""
        for marker in sorted(self.root.glob(f"*/*/*/{atomic.MARKER}")):
            yield marker.parent.parent.parent.name, marker.parent

    def usage(self) -> str:
        """A line per kind: how many results, how many bytes."""
        sizes: dict[str, list[int]] = {}
        for kind, folder in self.entries():
            sizes.setdefault(kind, []).append(sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()))
        lines = [f"{kind:12} {len(s):5} results {sum(s) / 1e6:9.1f} MB" for kind, s in sorted(sizes.items())]
        return "\n".join(lines) or f"{self.root}: nothing stored yet"

    def collect_garbage(self, wanted: set[str]) -> str:
        """Delete every result whose key is not wanted, and temporary folders an hour old; marker first, data after."""
        removed, freed = 0, 0
        for _, folder in list(self.entries()):
            if folder.name not in wanted:
                freed += sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
                (folder / atomic.MARKER).unlink()
                shutil.rmtree(folder)
                removed += 1
        for scratch in self.root.glob("*/*/.*.tmp"):
            if time.time() - scratch.stat().st_mtime > 3600:
                shutil.rmtree(scratch, ignore_errors=True)
        return f"{removed} results deleted, {freed / 1e6:.1f} MB freed"


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Own a run's folder; a second process is told who holds it.

    Raises:
        Locked: another live process runs there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock, owner = FileLock(folder / ".lock"), folder / ".owner.json"
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise Locked(f"{folder} is in use{_holder(owner)}; wait for it, or give another --out") from None
    try:
        atomic.write_json(
            owner,
            {
                "pid": os.getpid(),
                "host": socket.gethostname(),
                "since": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            },
        )
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


def _holder(owner: Path) -> str:
    try:
        who = json.loads(owner.read_text())
        alive = "" if psutil.pid_exists(int(who["pid"])) else ", which is gone"
        return f" by process {who['pid']} on {who['host']} since {who['since']}{alive}"
    except (OSError, ValueError, KeyError):
        return ""
