"""Where things lie: the store of stage results, shared by all runs that name it."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from drlbench.errors import Locked
from drlbench.store import atomic, lease
from drlbench.store.disk import make_folder, refusal

OWNER = ".owner.json"  # in a run's folder while a run goes on there


@dataclass(frozen=True)
class Store:
    """A folder of stage results.

    `<root>/<kind>/<key[:2]>/<key>` holds a result, `<root>/partial/<key>` work under way, `<root>/leases/<key>` who is
    at it, `<root>/users/` the live runs with the keys they use, `<root>/trash/` what is being deleted.
    """

    root: Path

    @property
    def place(self) -> Path:
        """What `drlbench.store.bucket.open_store` opens it by again, in another process."""
        return self.root

    def bring(self, kind: str, key: str) -> Path:
        """The folder of a finished result, on this machine; where a store lies elsewhere, its files are brought."""
        return self.folder(kind, key)

    def send(self, kind: str, key: str) -> None:
        """Hand a result that was finished here to where the store lies."""

    def claim(self, key: str) -> lease.Lease:
        """Take the lease of a stage.

        Raises:
            Held: another live process has it.
        """
        return lease.acquire(self.lease(key), grace=lease.GRACE)

    @contextmanager
    def in_use(self, keys: list[str]) -> Iterator[None]:
        """While a stage is made from these; in a folder the run has seen to it."""
        yield

    def folder(self, kind: str, key: str) -> Path:
        """Where the result of a stage lies, finished or not."""
        return self.root / kind / key[:2] / key

    def partial(self, key: str) -> Path:
        """Where a stage keeps what it needs to go on after a kill; dropped when the stage is done."""
        return self.root / "partial" / key

    def lease(self, key: str) -> Path:
        """The lease of the process that makes a stage."""
        return self.root / "leases" / key

    @property
    def users(self) -> Path:
        """A lease per live run, with the keys it uses."""
        return self.root / "users"

    @property
    def trash(self) -> Path:
        """What was taken out of use in one rename and is deleted at leisure."""
        return self.root / "trash"

    def has(self, kind: str, key: str) -> bool:
        """True when the result is there and was sealed."""
        return atomic.is_complete(self.folder(kind, key))

    def entries(self) -> Iterator[tuple[str, Path]]:
        """(kind, folder) of every finished result; a folder that is being sealed has a name of its own until it is."""
        for marker in sorted(self.root.glob(f"*/*/[!.]*/{atomic.MARKER}")):
            if marker.parent.parent.parent != self.trash:
                yield marker.parent.parent.parent.name, marker.parent

    def discard(self, folder: Path) -> None:
        """Take a folder out of the store in one step, then delete it."""
        make_folder(self.trash)
        grave = self.trash / uuid.uuid4().hex
        try:
            os.rename(folder, grave)
        except FileNotFoundError:
            return
        except OSError as error:
            raise refusal(error, folder) or error from error
        shutil.rmtree(grave, ignore_errors=True)

    @contextmanager
    def settled(self) -> Iterator[None]:
        """Nobody else enters as a user or deletes meanwhile."""
        make_folder(self.root)
        with lease.locked(self.root / "mutex"):
            yield

    @contextmanager
    def used_by_this_run(self, keys: list[str]) -> Iterator[None]:
        """Nobody deletes these stages while the run lives; what a kill has left of a deletion is cleared."""
        with self.settled():
            own = lease.acquire(self.users / f"{uuid.uuid4().hex}.json", keys)
        try:
            self._clear()
            yield
        finally:
            own.release()
            self._clear()  # again: an entry that a kill has cut is too young to tell when the next run begins at once

    def _clear(self) -> None:
        for grave in self.trash.glob("*"):
            shutil.rmtree(grave, ignore_errors=True)
        for path in self.users.glob("*.json"):
            if lease.is_over(path):
                path.unlink(missing_ok=True)

    def usage(self) -> str:
        """A line per kind: how many results, how many bytes."""
        sizes: dict[str, list[int]] = {}
        for kind, folder in self.entries():
            sizes.setdefault(kind, []).append(folder_size(folder))
        lines = [f"{kind:12} {len(s):5} results {sum(s) / 1e6:9.1f} MB" for kind, s in sorted(sizes.items())]
        return "\n".join(lines) or f"{self.root}: nothing stored yet"


def folder_size(folder: Path) -> int:
    """Bytes of all files of a folder; what vanishes meanwhile counts nothing."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:
            continue
    return total


@contextmanager
def run_lock(folder: Path) -> Iterator[lease.Lease]:
    """Own a run's folder; a second process is told who holds it. Temporary files of a killed owner are cleared.

    Raises:
        Locked: another live process runs there.
    """
    try:
        own = lease.acquire(folder / OWNER)
    except lease.Held as held:
        raise Locked(f"{folder} is in use by {held}; wait for it, or give another --out") from None
    try:
        for left in [*folder.rglob(".*.tmp"), folder / ".lock"]:
            left.unlink(missing_ok=True)
        yield own
    finally:
        own.release()
