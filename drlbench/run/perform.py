"""One run of a suite: own the folder, make what is missing, collect, report; whatever happens, say how it ended."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from drlbench.data.sources import survey
from drlbench.errors import CellsFailed, MissingPrerequisite, UserError, for_terminal
from drlbench.report.record import SCHEMA
from drlbench.run.collect import collect
from drlbench.run.executors import local
from drlbench.run.progress import Watcher
from drlbench.store import atomic, provenance
from drlbench.store.layout import Store, run_lock
from drlbench.tracking import Tracking

if TYPE_CHECKING:
    from drlbench.plan.graph import Plan
    from drlbench.suite.load import Suite

FREE_BYTES = 200_000_000  # below this a run is not started: the store of the embedded suite needs about half


class Interrupted(BaseException):
    """A signal asked the run to stop; `code` is the exit code."""

    def __init__(self, code: int) -> None:
        self.code = code


@dataclass(frozen=True)
class Options:
    """How to run, as against what to run: nothing here changes a number."""

    workers: int
    device: str
    command: str
    partial: bool
    ranks: int = 1
    tracker: str | None = None


@contextmanager
def _stoppable() -> Iterator[None]:
    """SIGINT and SIGTERM once: stop after a clean flush; twice: at once."""

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        raise Interrupted(128 + number)

    before = {s: signal.signal(s, stop) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)


def perform(suite: Suite, plan: Plan, store: Store, folder: Path, options: Options) -> dict[str, Any]:
    """Run a plan into a folder; running it again goes on where it stopped.

    Returns:
        the content of run.json.

    Raises:
        Locked: another process runs there. UserError: the folder belongs to another suite.
        MissingPrerequisite: too little disk. CellsFailed: after everything else was finished and reported.
    """
    with run_lock(folder), _stoppable():
        _check_folder(folder, suite, store)
        started = time.time()
        accounts = survey({"kind": plan.spec.data.kind, **plan.spec.data.settings})
        for account in accounts:
            for text in account.lines() + account.warnings():
                print(f"note: {for_terminal(text)}", file=sys.stderr)
        record: dict[str, Any] = {
            "schema": SCHEMA,
            "suite": plan.spec.suite,
            "title": plan.spec.title or plan.spec.suite,
            "command": options.command,
            "status": "started",
            "started": _utc(started),
            "finished": None,
            "wall_seconds": 0.0,
            "hardware": provenance.hardware(),
            "versions": provenance.versions(),
            "git": provenance.git(),
            "suite_text": suite.text,
            "suite_sha256": hashlib.sha256(suite.text.encode()).hexdigest(),
            "overrides": list(suite.overrides),
            "data": [account.document() for account in accounts],
            "resamples": plan.spec.resamples,
            "workers": options.workers,
            "stages": [[n.kind, n.key, n.label] for n in plan.nodes.values()],
            "grid": {
                "rows": plan.spec.grid.classes,
                "columns": plan.spec.grid.columns,
                "seed": plan.spec.sampling.seed,
            },
        }
        nodes = list(plan.nodes.values())
        outcomes: dict[str, local.Outcome] = {}
        seconds_before = _spent(folder)
        shutil.rmtree(folder / "logs", ignore_errors=True)
        watcher = Watcher(nodes, options.workers, folder / "events.jsonl")
        try:
            with watcher:
                watcher.write("run", command=options.command, stages=len(nodes), workers=options.workers)
                tracking = Tracking(options.tracker, folder.resolve(), plan.spec.suite) if options.tracker else None
                outcomes = local.execute(
                    nodes, store, options.workers, options.device, watcher, options.ranks, tracking
                )
        except Interrupted as stop:
            record |= collect(plan, store, folder)
            _finish(folder, record, "interrupted", started, seconds_before, watcher)
            print(f"interrupted; the same command goes on from here (log: {folder / 'events.jsonl'})", file=sys.stderr)
            raise SystemExit(stop.code) from None
        failed = {k: o for k, o in outcomes.items() if o.status == "failed"}
        record |= collect(plan, store, folder)
        _mark_failures(record["cells"], plan, outcomes)
        status = "failed" if failed else "partial" if options.partial else "complete"
        _finish(folder, record, status, started, seconds_before, watcher)
        if failed:
            bad = [c["id"] for c in record["cells"] if c["status"] == "failed"]
            lines = [f"  {plan.nodes[k].label}: {o.error}" for k, o in failed.items()]
            raise CellsFailed(
                f"{len(bad)} of {len(record['cells'])} cells failed; the others are in {folder}\n" + "\n".join(lines)
            )
        return record


def _utc(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _spent(folder: Path) -> float:
    """Wall seconds that earlier, interrupted attempts at this run took."""
    try:
        before = json.loads((folder / "run.json").read_text())
    except (OSError, ValueError):
        return 0.0
    return float(before.get("wall_seconds", 0.0)) if before.get("status") == "interrupted" else 0.0


def _finish(folder: Path, record: dict[str, Any], status: str, started: float, before: float, watcher: Watcher) -> None:
    record["status"], record["finished"] = status, _utc(time.time())
    record["wall_seconds"] = round(time.time() - started + before, 1)
    atomic.write_json(folder / "run.json", record)
    watcher.write("finished", status=status)


def _check_folder(folder: Path, suite: Suite, store: Store) -> None:
    """Refuse a folder that holds another suite's results, and a disk that is nearly full."""
    record = folder / "run.json"
    if record.is_file():
        try:
            name = json.loads(record.read_text()).get("suite")
        except ValueError:
            name = None
        if name is not None and name != suite.spec.suite:
            raise UserError(f"{folder} holds a run of suite {name!r}, not of {suite.spec.suite!r}; give another --out")
    for place in (folder, store.root):
        place.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(place).free
        if free < FREE_BYTES:
            raise MissingPrerequisite(
                f"{place}: {free // 1_000_000} MB free, {FREE_BYTES // 1_000_000} MB needed; "
                "free some space or put --store and --out elsewhere"
            )


def _mark_failures(cells: list[dict[str, Any]], plan: Plan, outcomes: Mapping[str, local.Outcome]) -> None:
    """Say for each unfinished cell which of its stages failed and why."""
    upstream = {key: [k for _, k in (*node.inputs.values(), *node.after)] for key, node in plan.nodes.items()}

    def reason(key: str) -> str | None:
        if outcomes[key].status == "failed":
            return f"{plan.nodes[key].label}: {outcomes[key].error}"
        return next((r for k in upstream[key] if (r := reason(k))), None)

    for row, cell in zip(cells, plan.cells, strict=True):
        keys = [cell.model.key, *([cell.kl.key] if cell.kl else [])]
        for measured in cell.measured.values():
            keys += [n.key for n in (*measured.scores.values(), *measured.preference.values())]
        error = next((r for k in keys if (r := reason(k))), None)
        if error:
            row["status"], row["error"] = "failed", error
