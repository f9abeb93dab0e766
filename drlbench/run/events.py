"""What a run's folder says of its progress: run.json when it ended, events.jsonl while it is under way."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from drlbench.errors import UserError


@dataclass(frozen=True)
class Status:
    """How far a run is. `left_seconds` is the last estimate; None when nothing was estimated yet."""

    run: str
    status: str
    stages: int
    ended: int
    failed: list[str]
    running: list[str]
    left_seconds: float | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def to_text(self) -> str:
        lines = [f"{self.run}: {self.status}, {self.ended} of {self.stages} stages done in the last attempt"]
        lines += [f"  running: {label}" for label in self.running]
        lines += [f"  failed: {label}" for label in self.failed]
        if self.left_seconds is not None and self.status == "running":
            lines.append(f"  about {self.left_seconds:.0f} s left")
        return "\n".join(lines)


def _events(folder: Path) -> list[dict[str, Any]]:
    path = folder / "events.jsonl"
    if not path.is_file():
        raise UserError(f"{folder}: no run here (events.jsonl is missing); give the folder that `drlbench run` wrote")
    events = []
    for line in path.read_text().splitlines():
        try:
            events.append(json.loads(line))
        except ValueError:
            continue  # the last line of a killed run may be cut
    return events


def read_status(folder: Path) -> Status:
    """Read the last attempt of a run.

    Raises:
        UserError: the folder holds no run.
    """
    events = _events(folder)
    starts = [i for i, e in enumerate(events) if e["event"] == "run"]
    attempt = events[starts[-1] :] if starts else events
    running: dict[str, str] = {}
    failed, ended, left = [], 0, None
    for event in attempt:
        if event["event"] == "start":
            running[event["key"]] = event["label"]
        elif event["event"] == "end":
            running.pop(event["key"], None)
            ended, left = ended + 1, event.get("left", left)
            if event["status"] == "failed":
                failed.append(event["label"])
    state = "stopped" if not (folder / ".owner.json").exists() else "running"
    if attempt and attempt[-1]["event"] == "finished":
        state, running = attempt[-1]["status"], {}
    return Status(
        str(folder), state, attempt[0].get("stages", 0) if attempt else 0, ended, failed, list(running.values()), left
    )


def run_keys(folder: Path) -> list[tuple[str, str]]:
    """(kind, key) of every stage of a finished run.

    Raises:
        UserError: the folder holds no run.json.
    """
    try:
        record = json.loads((folder / "run.json").read_text())
    except FileNotFoundError:
        raise UserError(f"{folder}: no finished run here (run.json is missing)") from None
    except ValueError as error:
        raise UserError(f"{folder / 'run.json'}: is not JSON ({error})") from None
    return [(kind, key) for kind, key, _ in record.get("stages", [])]
