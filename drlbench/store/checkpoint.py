"""What an unfinished training keeps: `progress.json`, replaced last, names the state of every rank and its checksum.

Whatever is killed when, `progress.json` points to a whole state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from drlbench.errors import IntegrityError
from drlbench.store import records
from drlbench.store.atomic import file_sha256, write_bytes, write_json

PROGRESS = "progress.json"
LEAST, SPARING = 30.0, 50  # seconds between two checkpoints, and how many times what the last one took

State = tuple[str, str]
"""File name and sha256 of one rank's state."""


class Checkpoint(records.Record):
    """progress.json.

    Attributes:
        states: (file name, sha256) of every rank's state.
        signature: what is trained, its settings and its seed.
        rows: what every update so far logged.
    """

    states: list[State]
    signature: str
    rows: list[dict[str, int | float]]


def due(elapsed: float, took: float, most: float = 600.0) -> bool:
    """Whether the next one is, `elapsed` seconds after the last, which took `took`; `most` seconds are the longest."""
    return elapsed >= min(most, max(LEAST, SPARING * took))


def write_state(folder: Path, number: int, rank: int, content: bytes) -> State:
    """Write one rank's state after update `number`; it counts once `write` names it."""
    name = f"state-{number:07d}-{rank}.safetensors"
    write_bytes(folder / name, content)
    return name, file_sha256(folder / name)


def write(folder: Path, states: Sequence[State], signature: str, rows: Sequence[Mapping[str, int | float]]) -> None:
    """Make these states the checkpoint, and take away older ones."""
    write_json(folder / PROGRESS, {"states": states, "signature": signature, "rows": rows})
    for old in folder.glob("state-*.safetensors"):
        if old.name not in dict(states):
            old.unlink()


def read(folder: Path) -> Checkpoint | None:
    """The checkpoint of a folder, or None where there is none.

    Raises:
        IntegrityError: `progress.json` is not what training writes.
    """
    return records.read(folder / PROGRESS, Checkpoint) if (folder / PROGRESS).is_file() else None


def read_for(folder: Path, signature: str) -> Checkpoint | None:
    """The same for a training with this signature.

    Raises:
        IntegrityError: as `read`, or it is another training's.
    """
    found, path = read(folder), folder / PROGRESS
    if found is not None and found.signature != signature:
        raise IntegrityError(
            f"{path}: was written under other settings\n  there: {found.signature}\n  here:  {signature}\n"
            f"delete {folder} to start again"
        )
    return found


def check(folder: Path) -> None:
    """Compare every state with its checksum.

    Raises:
        IntegrityError: one is missing or altered.
    """
    found = read(folder)
    for state in found.states if found else []:
        checked(folder, state)


def checked(folder: Path, state: State) -> Path:
    """The file of one state, compared with its checksum.

    Raises:
        IntegrityError: it is missing or altered.
    """
    path = folder / state[0]
    if not path.is_file() or file_sha256(path) != state[1]:
        raise IntegrityError(f"{path}: missing or does not match its checksum")
    return path
