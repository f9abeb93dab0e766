"""One run of a suite: own the folder, make what is missing, collect, report; whatever happens, say how it ended."""

from __future__ import annotations

import hashlib
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drlbench.cost.estimate import host_memory, to_come
from drlbench.cost.schedule import longest_first
from drlbench.data.classes import in_words
from drlbench.data.sources import survey
from drlbench.errors import CellsFailed, IntegrityError, UserError, for_terminal
from drlbench.report.record import FILE, SCHEMA, read_record
from drlbench.run.collect import collect
from drlbench.run.executors import torchrun
from drlbench.run.executors.base import Executor, Outcome, Work
from drlbench.run.executors.local import InProcessExecutor, LocalExecutor
from drlbench.run.leftovers import clear_stale, snapshot
from drlbench.run.progress import Watcher
from drlbench.run.reading import Reader
from drlbench.run.repair import repair
from drlbench.run.schedule import execute
from drlbench.run.signals import Interrupted, promise, tell
from drlbench.store import atomic, manifest, provenance
from drlbench.store.disk import preflight
from drlbench.store.layout import Store, run_lock
from drlbench.tracking import Tracking

if TYPE_CHECKING:
    from drlbench.plan.graph import CellPlan, Plan
    from drlbench.report.summary import Summary
    from drlbench.suite.load import Suite

FREE_BYTES = 200_000_000  # below this no run is started, whatever its plan counts


@dataclass(frozen=True)
class Options:
    """How to run, as against what to run: nothing here changes a number."""

    workers: int
    device: str
    command: str
    ranks: int = 1
    tracker: str | None = None
    repair: bool = False
    executor: str = "local"
    gpus: int | None = None


@dataclass(frozen=True)
class Finished:
    """A run that is over: the content of run.json, and what the page says first."""

    record: dict[str, Any]
    summary: Summary


def perform(suite: Suite, plan: Plan, store: Store, folder: Path, options: Options) -> Finished:
    """Run a plan into a folder; running it again goes on where it stopped.

    Raises:
        Locked: another process runs there. UserError: the folder belongs to another suite.
        MissingPrerequisite: disk, permissions or memory do not allow it. CellsFailed: after everything else was
        finished and reported. Interrupted: a signal; what there is was written down.
    """
    preflight(folder, 1_000_000)
    preflight(store.root, FREE_BYTES)
    with run_lock(folder), store.used_by_this_run(list(plan.nodes)):
        _check_folder(folder, suite)
        if options.repair:
            for line in repair(list(plan.nodes.values()), store):
                print(f"repair: {line}", file=sys.stderr)
        expected, size = to_come(plan, store, options.device.partition(":")[0], options.workers)
        preflight(store.root, max(FREE_BYTES, round(size)))
        started, before = time.time(), _spent(folder)
        record = _about(suite, plan, options, started)
        nodes = list(plan.nodes.values())
        shutil.rmtree(folder / "logs", ignore_errors=True)
        watcher, reader = Watcher(nodes, options.workers, folder / manifest.LOG, expected), Reader(store)
        promise(f"interrupted; the same command goes on from here (log: {folder / manifest.LOG})")
        try:
            with watcher:
                watcher.write("run", command=options.command, stages=len(nodes), workers=options.workers)
                order = longest_first(nodes, expected)
                outcomes = execute(order, store, _executor(store, folder, plan, options), watcher)
                watcher.reporting()
                there = snapshot(folder)
                record |= collect(plan, reader, folder)
                damaged = {key: f"{plan.nodes[key].label}: {why}" for key, why in reader.damaged.items()}
                causes = _mark_failures(record["cells"], plan, outcomes, damaged)
                partial = len(plan.cells) < len(suite.cells)
                status = "failed" if causes else "partial" if partial else "complete"
                summary = _report(folder, record, status, started, before)
                clear_stale(folder, there)
                watcher.reported()
        except Interrupted as stop:
            watcher.write("interrupted", signal=stop.name)
            tell()
            record |= collect(plan, reader, folder)
            _write_record(folder, record, "interrupted", started, before)
            watcher.write("finished", status="interrupted")
            manifest.seal(folder)
            raise
        watcher.write("finished", status=status)
        manifest.seal(folder)
        if causes:
            raise _failure(record, causes, folder, options.command)
        return Finished(record, summary)


def _about(suite: Suite, plan: Plan, options: Options, started: float) -> dict[str, Any]:
    """What run.json says before there are results."""
    accounts = survey({"kind": plan.spec.data.kind, **plan.spec.data.settings})
    for account in accounts:
        for text in account.lines() + account.warnings():
            print(f"note: {for_terminal(text)}", file=sys.stderr)
    return {
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
        "classes": in_words(suite.images.class_names),
        "stages": [[n.kind, n.key, n.label] for n in plan.nodes.values()],
        "grid": {
            "rows": plan.spec.grid.classes,
            "columns": plan.spec.grid.columns,
            "seed": plan.spec.sampling.seed,
        },
    }


def _executor(store: Store, folder: Path, plan: Plan, options: Options) -> Executor:
    tracking = Tracking(options.tracker, folder.resolve(), plan.spec.suite) if options.tracker else None
    work = Work(store.place, options.device, options.ranks, tracking, options.gpus)
    if torchrun.started():
        return InProcessExecutor(work, torchrun.device_of(options.device))
    if options.executor == "ray":
        from drlbench.run.executors.ray import RayExecutor

        return RayExecutor(work, host_memory(plan, options.device.partition(":")[0]))
    return LocalExecutor(work, options.workers)


def _report(folder: Path, record: dict[str, Any], status: str, started: float, before: float) -> Summary:
    """run.json, then everything that is made of it and the other results."""
    from drlbench.report.build import build_report

    _write_record(folder, record, status, started, before)
    manifest.seal(folder, manifest.measured)
    return build_report(folder)


def _utc(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _spent(folder: Path) -> float:
    """Wall seconds that earlier, interrupted attempts at this run took."""
    try:
        before = read_record(folder / FILE)
    except UserError:
        return 0.0
    return before.wall_seconds or 0.0 if before.status == "interrupted" else 0.0


def _write_record(folder: Path, record: dict[str, Any], status: str, started: float, before: float) -> None:
    record["status"], record["finished"] = status, _utc(time.time())
    record["wall_seconds"] = round(time.time() - started + before, 1)
    atomic.write_json(folder / FILE, record)


def _check_folder(folder: Path, suite: Suite) -> None:
    """Refuse a folder that holds another suite's results; a damaged record is written anew anyway."""
    try:
        name = read_record(folder / FILE).suite
    except UserError:
        return
    if name != suite.spec.suite:
        raise UserError(f"{folder} holds a run of suite {name!r}, not of {suite.spec.suite!r}; give another --out")


def _mark_failures(
    cells: list[dict[str, Any]], plan: Plan, outcomes: Mapping[str, Outcome], damaged: Mapping[str, str]
) -> dict[str, Outcome]:
    """Say for each unfinished cell which of its stages failed or is damaged.

    Returns:
        key -> outcome of those stages.
    """
    causes = {key: Outcome("failed", error=why, code=IntegrityError.exit_code) for key, why in damaged.items()}
    for key, outcome in outcomes.items():
        if outcome.status == "failed":
            causes[key] = Outcome("failed", error=f"{plan.nodes[key].label}: {outcome.error}", code=outcome.code)
    below: dict[str, str | None] = {}
    for key, node in plan.nodes.items():  # inputs come before their users
        upstream = (k for _, k in (*node.inputs.values(), *node.after))
        below[key] = causes[key].error if key in causes else next((w for k in upstream if (w := below[k])), None)
    for row, cell in zip(cells, plan.cells, strict=True):
        error = next((why for key in _stages_of(cell) if (why := below[key])), None)
        if error:
            row["status"], row["error"] = "failed", error
    return causes


def _stages_of(cell: CellPlan) -> list[str]:
    beside = (cell.kl, cell.tilt, cell.kl_start, *cell.terms.values())
    keys = [cell.model.key, *(n.key for n in beside if n), *(node.key for _, node in cell.training)]
    for measured in cell.measured.values():
        keys += [measured.samples.key, *(node.key for node, _ in measured.numbers())]
    return keys


def _failure(record: dict[str, Any], causes: Mapping[str, Outcome], folder: Path, command: str) -> CellsFailed:
    """The end of a run with gaps; damage outweighs a missing resource, and that any other failure."""
    bad = [c["id"] for c in record["cells"] if c["status"] == "failed"]
    code = max(outcome.code or 1 for outcome in causes.values())
    code = code if code in (5, 6) else 1
    if any(outcome.code == IntegrityError.exit_code for outcome in causes.values()):
        code = IntegrityError.exit_code
    lines = [f"{len(bad)} of {len(record['cells'])} cells failed; the others are in {folder / 'report.html'}"]
    lines += [f"  {outcome.error}" for outcome in causes.values()]
    if code == IntegrityError.exit_code:
        again = command if "--repair" in command else f"{command} --repair"
        lines.append(f"what is damaged, and what was made from it, is made again by: {again}")
    failed = CellsFailed("\n".join(lines))
    failed.exit_code = code
    return failed
