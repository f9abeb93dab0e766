"""A fine-tune's checkpoint on disk: `progress.json`, replaced last, names the state of every rank and its checksum."""

from __future__ import annotations

from pathlib import Path

from drlbench.errors import IntegrityError
from drlbench.store import records
from drlbench.store.atomic import file_sha256

PROGRESS = "progress.json"


class Checkpoint(records.Record):
    """progress.json.

    Attributes:
        states: (file name, sha256) of every rank's state.
        signature: algorithm, settings and seed it belongs to.
        rows: what every update so far logged.
    """

    states: list[tuple[str, str]]
    signature: str
    rows: list[dict[str, int | float]]


def read(folder: Path) -> Checkpoint | None:
    """The checkpoint of a folder, or None where there is none.

    Raises:
        IntegrityError: `progress.json` is not what training writes.
    """
    return records.read(folder / PROGRESS, Checkpoint) if (folder / PROGRESS).is_file() else None


def check(folder: Path) -> None:
    """Compare every state with its checksum.

    Raises:
        IntegrityError: one is missing or altered.
    """
    found = read(folder)
    for name, checksum in found.states if found else []:
        check_state(folder / name, checksum)


def check_state(path: Path, checksum: str) -> None:
    """Compare one state with its checksum.

    Raises:
        IntegrityError: it is missing or altered.
    """
    if not path.is_file() or file_sha256(path) != checksum:
        raise IntegrityError(f"{path}: missing or does not match its checksum")
