"""What a machine refuses, in words: a full disk, a limit, a read-only folder, too little memory. Exit code 6."""

from __future__ import annotations

import errno
import os
import re
import resource
import shutil
import tempfile
from pathlib import Path

from drlbench.errors import MissingPrerequisite

FULL = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the quota is used up"}
REFUSED = {
    errno.EFBIG: "a file may not grow beyond the limit of this shell (ulimit -f)",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission is denied",
    errno.EPERM: "permission is denied",
    errno.ENOTDIR: "a file stands where a folder should be",
    errno.EISDIR: "a folder stands where a file should be",
    errno.EEXIST: "a file stands where a folder should be",
    errno.ENAMETOOLONG: "the name is too long for the file system",
    errno.ELOOP: "its links lead in a circle",
    errno.EIO: "the device reports an input/output error",
    errno.EMFILE: "too many files are open (ulimit -n)",
    errno.ENFILE: "too many files are open on this machine",
    errno.ESTALE: "the network file system has lost the file",
    errno.ENOLCK: "the file system has no locks; a store needs one that has",
    errno.EAGAIN: "no further process or thread may be started (ulimit -u)",
}
SMALLEST_LIMIT = 1_000_000  # bytes: a run's page alone is half of that
MEMORY = re.compile(
    r"failed to map segment|cannot allocate memory|can't allocate memory|std::bad_alloc|not enough memory"
    r"|can't start new thread",
    re.I,
)


def refusal(error: BaseException, place: Path | None = None, needed: int | None = None) -> MissingPrerequisite | None:
    """The message of an error that disk, permissions or memory are to blame for; None for any other error.

    Args:
        place: where it happened, where the error itself does not say.
        needed: bytes that were to be written.
    """
    if isinstance(error, MissingPrerequisite):
        return error
    code = error.errno if isinstance(error, OSError) else _told(error)
    named = error.filename if isinstance(error, OSError) and isinstance(error.filename, str) else None
    where = Path(named) if named and place is None else place
    if isinstance(error, MemoryError) or code == errno.ENOMEM or (code is None and MEMORY.search(str(error))):
        return MissingPrerequisite(f"{_at(where)}not enough memory: {_first(error)}; {_memory()}")
    if code in FULL or code == errno.EFBIG:
        why = FULL.get(code) or REFUSED[code]
        wanted = "" if needed is None else f"{size(needed)} needed, "
        return MissingPrerequisite(
            f"{_at(where)}cannot be written: {why}; {wanted}{size(free(where))} free. What was there before is whole; "
            "make room and give the same command again"
        )
    if code in REFUSED:
        return MissingPrerequisite(f"{_at(where)}cannot be written or read: {REFUSED[code]}")
    return None


def make_folder(path: Path) -> None:
    """Make a folder with its parents.

    Raises:
        MissingPrerequisite: it cannot be made; says why.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise refusal(error, path) or MissingPrerequisite(f"{path}: cannot be made: {error.strerror}") from error


def free(place: Path | None) -> int:
    """Free bytes where `place` lies or would lie."""
    at = (place or Path()).absolute()
    while True:
        try:
            return shutil.disk_usage(at).free
        except OSError:
            if at == at.parent:
                return 0
            at = at.parent


def size(count: int) -> str:
    """Bytes for people."""
    value = float(count)
    for unit in ("bytes", "kB", "MB"):
        if value < 1000:
            return f"{value:.3g} {unit}" if unit != "bytes" else f"{count} bytes"
        value /= 1000
    return f"{value:,.1f} GB"


def preflight(folder: Path, needed: int) -> None:
    """Try a folder before any work: made, written to, and with `needed` bytes free and allowed in one file.

    Raises:
        MissingPrerequisite: one of them does not hold.
    """
    make_folder(folder)
    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as probe:  # without a name: a kill leaves nothing behind
            probe.write(b"x")
    except OSError as error:
        raise refusal(error, folder, needed) or error from error
    if free(folder) < needed:
        raise MissingPrerequisite(
            f"{folder}: {size(needed)} needed, {size(free(folder))} free; make room, or put --store and --out elsewhere"
        )
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    if limit != resource.RLIM_INFINITY and limit < min(needed, SMALLEST_LIMIT):
        raise MissingPrerequisite(
            f"{folder}: files may not grow beyond {size(limit)} in this shell, "
            f"{size(min(needed, SMALLEST_LIMIT))} needed; ulimit -f unlimited"
        )


def clock_of(folder: Path) -> float:
    """The time, in seconds, by the clock of the file system that a folder lies on."""
    with tempfile.TemporaryFile(dir=folder) as file:
        return os.fstat(file.fileno()).st_mtime


def _told(error: BaseException) -> int | None:
    """The error number in the words of a library that raises no OSError (safetensors: `(os error 28)`)."""
    found = re.search(r"\(os error (\d+)\)", str(error))
    return int(found[1]) if found else None


def _first(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _at(where: Path | None) -> str:
    return f"{where}: " if where is not None else ""


def _memory() -> str:
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY:
        return f"this shell allows a process {size(limit)} of addresses (ulimit -v); ulimit -v unlimited"
    return "use fewer workers, smaller batches or a larger machine"
