"""What a run's folder says of its progress: run.json when it ended, events.jsonl and the owner's lease before."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from drlbench.errors import IntegrityError, UserError
from drlbench.report.record import FILE, read_record
from drlbench.store import lease, records
from drlbench.store.layout import OWNER
from drlbench.store.manifest import LOG


class Event(records.Record):
    """One line of events.jsonl: `run`, `start`, `wait`, `takeover`, `end`, `interrupted` or `finished`."""

    at: str
    event: str
    command: str = ""
    stages: int = 0
    workers: int = 0
    stage: str = ""
    key: str = ""
    label: str = ""
    owner: str = ""
    status: str = ""
    error: str = ""
    signal: str = ""
    seconds: float | None = None
    left: float | None = None


@dataclass(frozen=True)
class Status:
    """How far a run is.

    Attributes:
        status: `running`, or how the last attempt ended: `complete`, `partial`, `failed`, `interrupted` (by a signal),
            `stopped` (an error), `killed` (its process is gone), `stale` (no sign of life from another machine).
        why: who is at work, or what is known of the end.
        left_seconds: the last estimate; None when nothing was estimated, or nothing goes on.
    """

    run: str
    status: str
    stages: int
    ended: int
    failed: list[str]
    running: list[str]
    left_seconds: float | None
    why: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def to_text(self) -> str:
        why = f" ({self.why})" if self.why else ""
        lines = [f"{self.run}: {self.status}{why}, {self.ended} of {self.stages} stages done in the last attempt"]
        lines += [f"  {'running' if self.status == 'running' else 'was running'}: {label}" for label in self.running]
        lines += [f"  failed: {label}" for label in self.failed]
        if self.left_seconds is not None:
            lines.append(f"  about {self.left_seconds:.0f} s left")
        if self.status in ("interrupted", "stopped", "killed", "stale"):
            lines.append("  the same `drlbench run` command goes on from here")
        return "\n".join(lines)


def read_events(folder: Path) -> list[Event]:
    """Every whole line of events.jsonl; the last one of a killed run may be cut.

    Raises:
        UserError: there is no such file. IntegrityError: a line is not an event; names it.
    """
    path = folder / LOG
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UserError(
            f"{folder}: no run here ({LOG} is missing); give the folder that `drlbench run` wrote"
        ) from None
    except OSError as error:
        raise IntegrityError(f"{path}: cannot be read ({error.strerror})") from error
    lines = content[: content.rfind(b"\n") + 1].splitlines()
    if content and not lines:
        raise IntegrityError(f"{path}: holds no event")
    return [records.parse(line, Event, f"{path}:{number}") for number, line in enumerate(lines, 1)]


def read_status(folder: Path) -> Status:
    """Read the last attempt of a run, and look whether its process lives.

    Raises:
        UserError: the folder holds no run. IntegrityError: its log is damaged.
    """
    events = read_events(folder)
    starts = [i for i, e in enumerate(events) if e.event == "run"]
    attempt = events[starts[-1] :] if starts else events
    running: dict[str, str] = {}
    failed, ended, left = [], 0, None
    for event in attempt:
        if event.event == "start":
            running[event.key] = event.label
        elif event.event == "end":
            running.pop(event.key, None)
            ended, left = ended + 1, event.left if event.left is not None else left
            if event.status == "failed":
                failed.append(event.label)
    state, why = _state(folder, attempt)
    if state in ("complete", "partial", "failed"):
        running = {}
    stages = attempt[0].stages if attempt else 0
    going = left if state == "running" else None
    return Status(str(folder), state, stages, ended, failed, list(running.values()), going, why)


def _state(folder: Path, attempt: list[Event]) -> tuple[str, str]:
    last = attempt[-1] if attempt else None
    if last is not None and last.event == "finished":
        return last.status, ""
    stop = next((e for e in attempt if e.event == "interrupted"), None)
    owner = lease.read_owner(folder / OWNER)
    if owner is not None and lease.lives(folder / OWNER, owner):
        return "running", str(owner)
    if stop is not None:
        return "interrupted", stop.signal
    if owner is None:
        return "stopped", "by an error before its end"
    if lease.is_here(owner):
        return "killed", f"{owner} is gone"
    return "stale", f"{owner} gave no sign of life for {lease.age(folder / OWNER):.0f} s"


def run_keys(folder: Path) -> list[tuple[str, str]]:
    """(kind, key) of every stage of a finished run.

    Raises:
        UserError: the folder holds no run.json. IntegrityError: it is damaged.
    """
    if not (folder / FILE).is_file():
        raise UserError(f"{folder}: no finished run here ({FILE} is missing)")
    return [(kind, key) for kind, key, _ in read_record(folder / FILE).stages]
