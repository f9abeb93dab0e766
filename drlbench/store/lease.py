"""Who works on what: a file that names its owner and that the owner touches while it lives.

On one machine an owner lives as long as its process does. Of another machine only the file is seen: an owner that has
not touched it for `STALE` seconds is taken for dead. What this relies on, also on a shared file system: a file is
created by one of several (O_EXCL), locks between hosts (flock; NFSv4, Lustre with -o flock), times of change from one
clock (the server's; no clock of a host is read), and attributes that are at most `STALE - BEAT` seconds old.
"""

from __future__ import annotations

import fcntl
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO

import psutil
from pydantic import Field

from drlbench.errors import IntegrityError
from drlbench.store import records
from drlbench.store.disk import clock_of, make_folder, refusal

BEAT = 15.0  # seconds between touches
STALE = 180.0  # seconds without one after which an owner on another machine is dead
GRACE = 1.2  # seconds that the workers of a dead owner are given to notice and end


class Owner(records.Record):
    """The process that holds a lease.

    Attributes:
        birth: when the process began, in ticks since its machine did: pids come back.
        place: machine, boot and process namespace; equal ones see each other's processes.
        keys: stages that the owner uses; nobody may delete them.
    """

    pid: int
    birth: int
    host: str
    place: str
    since: str
    token: str
    keys: list[str] = Field(default_factory=list)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since}"


class Held(Exception):
    """Somebody else has the lease and lives."""

    def __init__(self, owner: Owner) -> None:
        super().__init__(str(owner))
        self.owner = owner


class Lease:
    """A lease that this process holds, kept alive by one thread for all of them."""

    def __init__(self, path: Path, owner: Owner, previous: Owner | None) -> None:
        self.path, self.owner, self.previous = path, owner, previous
        self.lost = False

    def release(self) -> None:
        """Give it up; what somebody else has taken over is left alone."""
        forget(self)
        found = read_owner(self.path)
        if found is not None and found.token == self.owner.token:
            with suppress(OSError):  # where it can no longer be removed, our death will tell
                self.path.unlink(missing_ok=True)

    def beat(self) -> None:
        """Touch the file, or notice that another process has taken over."""
        found = read_owner(self.path)
        if found is None or found.token != self.owner.token:
            self.lost = True
            forget(self)
        else:
            os.utime(self.path)


def acquire(path: Path, keys: list[str] | None = None, grace: float = 0.0) -> Lease:
    """Take a lease, also from an owner that is dead (`Lease.previous` names it then).

    Args:
        keys: stages that nobody may delete while the lease is held.
        grace: seconds to wait before a lease is taken from an owner that has only just died.

    Raises:
        Held: its owner lives. MissingPrerequisite: the file system does not allow it.
    """
    make_folder(path.parent)
    mine = me(keys or [])
    previous: Owner | None = None
    while True:
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            previous = evict(path, grace) or previous
            continue
        except OSError as error:
            raise refusal(error, path) or error from error
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(mine.model_dump_json().encode())
        except OSError as error:
            path.unlink(missing_ok=True)
            raise refusal(error, path, 4096) or error from error
        lease = Lease(path, mine, previous)
        keep(lease)
        return lease


def read_owner(path: Path) -> Owner | None:
    """Who a lease names, or None: no lease, or one that is just being written."""
    try:
        return records.parse(path.read_bytes(), Owner, path)
    except (OSError, IntegrityError):
        return None


def is_here(owner: Owner) -> bool:
    """Whether an owner is, or was, a process that this one could see."""
    return owner.place == _place()


def lives(path: Path, owner: Owner) -> bool:
    """Whether an owner is at work: by its process here, by its touches elsewhere."""
    if owner.place == _place():
        return birth(owner.pid) == owner.birth
    return age(path) < STALE


def is_over(path: Path) -> bool:
    """Whether a lease's owner is dead; one that names nobody was cut by a kill when it is old enough to tell."""
    owner = read_owner(path)
    return age(path) > GRACE if owner is None else not lives(path, owner)


def age(path: Path) -> float:
    """Seconds since a file was touched, by the clock of the file system it lies on."""
    try:
        return clock_of(path.parent) - path.stat().st_mtime
    except OSError:
        return 0.0  # it is gone, or nothing can be written here: nobody is declared dead for that


def birth(pid: int) -> int:
    """When a process began, in ticks or hundredths since its machine did; -1 when it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return -1
        try:  # no /proc: macOS
            return round(psutil.Process(pid).create_time() * 100)
        except psutil.Error:
            return -1
    except OSError:
        return -1
    return -1 if fields[0] in "ZX" else int(fields[19])


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """A short critical section between all processes that lock the same file, which stays."""
    try:
        with path.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise refusal(error, path) or error from error


def evict(path: Path, grace: float = 0.0) -> Owner | None:
    """Remove the lease of a dead owner; who removes holds a lock on the file, so that no younger lease is hit.

    Raises:
        Held: the owner lives.
    """
    try:
        file = path.open("r+b")
    except FileNotFoundError:
        return None
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not _lies_at(path, file):
            return None
        owner = read_owner(path)
        if owner is None:  # just being written, or by an owner that died before it could: time tells
            time.sleep(max(0.0, GRACE - age(path)))
            owner = read_owner(path)
        if owner is not None:
            if lives(path, owner):
                raise Held(owner)
            if age(path) < BEAT + grace:
                time.sleep(grace)
        # An owner that gave its lease up before it died is none: the place is empty, or somebody else's by now.
        # What a dead one left only those remove who hold this lock.
        if not _lies_at(path, file):
            return None
        path.unlink()
        return owner


def _lies_at(path: Path, file: IO[bytes]) -> bool:
    """Whether an open file is still the one that lies at the path."""
    try:
        return os.fstat(file.fileno()).st_ino == path.stat().st_ino
    except FileNotFoundError:
        return False


def me(keys: list[str]) -> Owner:
    """This process as an owner."""
    return Owner(
        pid=os.getpid(),
        birth=_own_birth(os.getpid()),
        host=socket.gethostname(),
        place=_place(),
        since=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        token=uuid.uuid4().hex,
        keys=keys,
    )


@cache
def _own_birth(pid: int) -> int:
    """`birth` of this process: read once, where /proc may take milliseconds to answer."""
    return birth(pid)


def _place() -> str:
    return _place_of(os.getpid())


@cache
def _place_of(pid: int) -> str:
    """Where this process runs; by its pid, so that a fork asks anew."""

    def of(read: str) -> str:
        try:
            return os.readlink(read) if "/ns/" in read else Path(read).read_text().strip()
        except OSError:
            return ""

    return "|".join([socket.gethostname(), of("/proc/sys/kernel/random/boot_id"), of("/proc/self/ns/pid")])


_beating: set[Lease] = set()
_thread: threading.Thread | None = None


def keep(lease: Lease) -> None:
    """Touch a lease from now on."""
    global _thread
    _beating.add(lease)
    if _thread is None or not _thread.is_alive():
        _thread = threading.Thread(target=_keep_beating, name="leases", daemon=True)
        _thread.start()


def forget(lease: Lease) -> None:
    """Touch it no more."""
    _beating.discard(lease)


def _keep_beating() -> None:
    while True:
        time.sleep(BEAT)
        for lease in list(_beating):
            try:
                lease.beat()
            except OSError:
                continue  # a file system that is away for a moment; the next touch tells
