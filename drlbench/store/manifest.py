"""The run's folder vouches for itself: `manifest.json`, written last, has the size and sha256 of every file in it.

`events.jsonl` only grows, so its beginning is compared. Files that the manifest does not name are a reader's own and
are left alone, except those that a report makes: they would belong to other results.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path

from pydantic import Field

from drlbench.errors import IntegrityError
from drlbench.store import atomic, records

NAME = "manifest.json"
LOG = "events.jsonl"
SCHEMA = 1

# What a run measured, as against what a report makes of it again at any time.
MEASURED = ("results.csv", "run.json", "curves.json", "replicates.npz", "points.npz", "samples/*")
MADE = ("table.*", "paper_table_*", "frontier.csv", "summary.json", "report.html", "figures/*")


class Manifest(records.Sealed):
    """Names relative to the run's folder, with what each file must be."""

    schema_number: int = Field(alias="schema")
    files: dict[str, atomic.FileRecord]


def measured(name: str) -> bool:
    """Whether a run wrote this file itself."""
    return any(fnmatch(name, pattern) for pattern in MEASURED)


def made(name: str) -> bool:
    """Whether a report made this file."""
    return any(fnmatch(name, pattern) for pattern in MADE)


def seal(folder: Path, renewed: Callable[[str], bool] = lambda name: True) -> None:
    """Write the manifest anew.

    Args:
        renewed: names whose files count as they are now; all others stay as the present manifest has them.
    """
    before = _read(folder).files if (folder / NAME).is_file() else {}
    files = {name: record.model_dump() for name, record in before.items() if not renewed(name)}
    for name in _names(folder):
        if renewed(name):
            files[name] = atomic.describe(folder / name)
    atomic.write_text(folder / NAME, records.sealed({"schema": SCHEMA, "files": files}))


def renew(folder: Path) -> None:
    """Take up what a report has made anew; a folder that is older than manifests stays without one."""
    if (folder / NAME).is_file():
        seal(folder, made)


def check(folder: Path, concerns: Callable[[str], bool] = lambda name: True) -> list[str] | None:
    """Compare the files of a run's folder with its manifest.

    Args:
        concerns: names to compare.

    Returns:
        Files beside it that it does not name, or None when the run is older than manifests.

    Raises:
        IntegrityError: a file is missing, altered, or was made from other results; names it.
    """
    if not (folder / NAME).is_file():
        return None
    expected = _read(folder).files
    found = set(_names(folder))
    for name, record in sorted(expected.items()):
        if concerns(name):
            _compare(folder / name, record, name == LOG)
    beside = sorted(name for name in found - expected.keys() if concerns(name))
    for name in beside:
        if made(name):
            raise IntegrityError(
                f"{folder / name}: was made from other results; `drlbench report {folder}` makes it anew"
            )
        if measured(name):
            raise IntegrityError(f"{folder / name}: is not part of this run{_again(folder)}")
    return beside


def _compare(path: Path, record: atomic.FileRecord, grows: bool) -> None:
    folder = path.parent if "/" not in path.name else path.parent.parent
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            if grows and size >= record.size:
                digest, size = hashlib.sha256(file.read(record.size)).hexdigest(), record.size
            else:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise IntegrityError(f"{path}: missing{_again(folder)}") from None
    except OSError as error:
        raise IntegrityError(f"{path}: cannot be read ({error.strerror})") from error
    if atomic.FileRecord(sha256=digest, size=size) != record:
        raise IntegrityError(atomic.altered(path, size, record.size) + _again(folder))


def _again(folder: Path) -> str:
    return "; the same `drlbench run` command writes the run's folder anew from the store"


def _read(folder: Path) -> Manifest:
    return records.read_sealed(folder / NAME, Manifest)


def _names(folder: Path) -> Iterator[str]:
    """Files of a run's folder, without the manifest itself and hidden ones."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name != NAME and not any(part.startswith(".") for part in name.split("/")):
            yield name
