"""Nothing half-written is ever read as whole: data first, marker last, rename, checksum beside it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from drlbench.errors import IntegrityError, readable

MARKER = "COMPLETE.json"


def fsync_directory(path: Path) -> None:
    """Make a rename inside `path` survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, content: bytes) -> None:
    """Replace `path` by `content` in one step: temporary file beside it, flush, fsync, rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    fsync_directory(path.parent)


def write_text(path: Path, text: str) -> None:
    """`write_bytes` of UTF-8 text, whatever the locale that file names in it were read under."""
    write_bytes(path, readable(text).encode())


def write_json(path: Path, value: Any) -> None:
    """Write JSON with sorted keys; NaN and infinity are refused because JSON has no word for them."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n")


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _listing(folder: Path) -> dict[str, dict[str, Any]]:
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != MARKER)
    return {p.relative_to(folder).as_posix(): {"sha256": file_sha256(p), "size": p.stat().st_size} for p in files}


@contextmanager
def artefact(folder: Path, record: dict[str, Any]) -> Iterator[Path]:
    """Fill a temporary folder, seal it with a marker, and rename it to `folder`.

    The marker holds `record` and the size and sha256 of every file. If another process finished the same
    folder in the meantime, its result is kept and ours is dropped: both were made from the same key.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".tmp"))
    try:
        yield scratch
        for path in scratch.rglob("*"):
            if path.is_file():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
        write_json(scratch / MARKER, {**record, "files": _listing(scratch)})
        os.chmod(scratch, 0o755)
        try:
            os.rename(scratch, folder)
        except OSError:
            if not is_complete(folder):
                raise
        fsync_directory(folder.parent)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def is_complete(folder: Path) -> bool:
    """True when the folder carries its marker (which is written last)."""
    return (folder / MARKER).is_file()


def read_marker(folder: Path) -> dict[str, Any]:
    """The marker of a complete artefact.

    Raises:
        IntegrityError: the marker is missing or is not the JSON that was written.
    """
    try:
        marker: dict[str, Any] = json.loads((folder / MARKER).read_text())
    except (OSError, ValueError) as error:
        raise IntegrityError(f"{folder / MARKER}: cannot be read ({error}); delete {folder} and run again") from error
    return marker


def check(folder: Path, key: str) -> None:
    """Compare every file of an artefact with its marker.

    Raises:
        IntegrityError: a file is missing, added, truncated or altered, or the folder belongs to another key.
    """
    marker = read_marker(folder)
    if marker.get("key") != key:
        raise IntegrityError(f"{folder}: holds the result of key {str(marker.get('key'))[:12]}, not of {key[:12]}")
    expected, found = marker["files"], _listing(folder)
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            raise IntegrityError(f"{folder / name}: missing")
        if name not in expected:
            raise IntegrityError(f"{folder / name}: is not part of the artefact")
        if expected[name] != found[name]:
            raise IntegrityError(
                f"{folder / name}: does not match its checksum "
                f"({found[name]['size']} bytes, {expected[name]['size']} expected); delete {folder} and run again"
            )
