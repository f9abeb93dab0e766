"""Nothing half-written is ever read as whole: data first, marker last, rename, checksum beside it."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import Field

from drlbench.errors import IntegrityError, readable
from drlbench.store import records
from drlbench.store.disk import refusal

MARKER = "COMPLETE.json"
FLUSHES = 16  # at once: a file system writes those that wait together in one go


class FileRecord(records.Record):
    """What a file must be."""

    sha256: str
    size: int


class Marker(records.Sealed):
    """What a finished stage's folder says of itself: its key, what the key stands for, and its files."""

    key: str
    kind: str = ""
    version: int = 0
    settings: dict[str, Any] = Field(default_factory=dict)
    inputs: dict[str, str] = Field(default_factory=dict)
    label: str = ""
    files: dict[str, FileRecord]


def fsync_directory(path: Path) -> None:
    """Make a rename inside `path` survive a power cut."""
    _flush(path)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, content: bytes) -> None:
    """Replace `path` by `content` in one step: temporary file beside it, flush, fsync, rename.

    Raises:
        MissingPrerequisite: disk, quota, limits or permissions do not allow it; the old file is whole.
    """
    name = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}."[:200], suffix=".tmp")
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
        name = ""
        fsync_directory(path.parent)
    except OSError as error:
        raise refusal(error, path, len(content)) or error from error
    finally:
        if name:
            Path(name).unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """`write_bytes` of UTF-8 text, whatever the locale that file names in it were read under."""
    write_bytes(path, readable(text).encode())


def write_json(path: Path, value: Any) -> None:
    """`write_text` of JSON with sorted keys, without NaN or infinity."""
    write_text(path, records.to_text(value))


def put_json(path: Path, value: Any) -> None:
    """A file of a folder that `artefact` is to seal: the seal flushes it, and nobody reads the folder before."""
    path.write_bytes(readable(records.to_text(value)).encode())


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def describe(path: Path) -> dict[str, Any]:
    """The `FileRecord` of a file as it is now, as JSON."""
    return {"sha256": file_sha256(path), "size": path.stat().st_size}


def _listing(folder: Path) -> dict[str, dict[str, Any]]:
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != MARKER)
    return {p.relative_to(folder).as_posix(): describe(p) for p in files}


@contextmanager
def artefact(folder: Path, record: dict[str, Any]) -> Iterator[Path]:
    """Fill a temporary folder, seal it with a marker, and rename it to `folder`.

    The marker holds `record` and the size and sha256 of every file. If another process finished the same
    folder in the meantime, its result is kept and ours is dropped: both were made from the same key. What a kill has
    left of earlier attempts at the same folder is cleared, so whoever calls this works on it alone.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    for old in folder.parent.glob(f".{folder.name}.*.tmp"):
        shutil.rmtree(old, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".tmp"))
    try:
        yield scratch
        marker = records.sealed({**record, "files": _listing(scratch)})
        (scratch / MARKER).write_bytes(readable(marker).encode())
        with ThreadPoolExecutor(FLUSHES) as pool:  # all of it before the rename, by which the marker comes last
            list(pool.map(_flush, [*scratch.rglob("*"), scratch]))
        os.chmod(scratch, 0o755)
        try:
            os.rename(scratch, folder)
        except OSError:
            if not is_complete(folder):
                if not folder.is_dir():
                    raise
                shutil.rmtree(folder)  # data without a marker: what a killed deletion has left
                os.rename(scratch, folder)
        fsync_directory(folder.parent)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def is_complete(folder: Path) -> bool:
    """True when the folder carries its marker (which is written last)."""
    return (folder / MARKER).is_file()


def read_marker(folder: Path) -> Marker:
    """The marker of a complete artefact.

    Raises:
        IntegrityError: the marker is missing or is not what was written.
    """
    return records.read_sealed(folder / MARKER, Marker)


def read_file(folder: Path, key: str, name: str) -> bytes:
    """One file of an artefact, compared with the marker before anybody sees it.

    Raises:
        IntegrityError: the file or the marker is missing or altered, or the folder belongs to another key.
    """
    marker = _own_marker(folder, key)
    path = folder / name
    if name not in marker.files:
        raise IntegrityError(f"{path}: is not part of the artefact")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise IntegrityError(f"{path}: cannot be read ({error.strerror})") from error
    if FileRecord(sha256=hashlib.sha256(content).hexdigest(), size=len(content)) != marker.files[name]:
        raise IntegrityError(altered(path, len(content), marker.files[name].size))
    return content


def check(folder: Path, key: str) -> None:
    """Compare every file of an artefact with its marker.

    Raises:
        IntegrityError: a file is missing, added, truncated or altered, or the folder belongs to another key.
    """
    expected, found = _own_marker(folder, key).files, _listing(folder)
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            raise IntegrityError(f"{folder / name}: missing")
        if name not in expected:
            raise IntegrityError(f"{folder / name}: is not part of the artefact")
        if expected[name] != FileRecord(**found[name]):
            raise IntegrityError(altered(folder / name, found[name]["size"], expected[name].size))


def altered(path: Path, found: int, expected: int) -> str:
    """The message of a file that is not the one that was written."""
    return f"{path}: does not match its checksum ({found} bytes, {expected} expected)"


def _own_marker(folder: Path, key: str) -> Marker:
    marker = read_marker(folder)
    if marker.key != key:
        raise IntegrityError(f"{folder}: holds the result of key {marker.key[:12]}, not of {key[:12]}")
    return marker
