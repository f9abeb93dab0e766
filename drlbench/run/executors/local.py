"""Run a graph of stages on this machine: one process a worker, one thread a process.

Stages exchange nothing but store keys, so the order of execution, the number of workers and a kill at any
instant leave no trace in the results.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import shutil
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from drlbench.errors import UserError
from drlbench.plan.node import Node
from drlbench.run.executors.orphan import end_with
from drlbench.store import atomic
from drlbench.store.layout import Store
from drlbench.tracking import Tracking


@dataclass(frozen=True)
class Outcome:
    """How a stage ended: `made`, `cached`, `failed` or `skipped` (an input failed)."""

    status: str
    seconds: float = 0.0
    error: str = ""
    detail: str = ""


Listener = Callable[[str, Node, Outcome | float | None], None]

_reports: Any = None
_place = "cpu"  # the device of this worker


def places(device: str, ranks: int = 1) -> list[str]:
    """The devices that workers take in turn: every GPU for "cuda", else the one that was named.

    Where a fine-tune has ranks of its own, these share out the GPUs.
    """
    if device != "cuda" or ranks > 1:
        return [device]
    import torch

    return [f"cuda:{i}" for i in range(torch.cuda.device_count())] or [device]


def default_workers(device: str, ranks: int = 1) -> int:
    """One worker per GPU, or per core without one; a single one where a fine-tune has ranks of its own."""
    if device != "cpu" or ranks > 1:
        return len(places(device, ranks))
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _enter_worker(reports: Any, parent: int, free: Any) -> None:
    """A device of its own, one thread, no Ctrl-C (the parent decides), and no life after the parent."""
    global _reports, _place
    _reports, _place = reports, free.get()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)

    end_with(parent)
    import torch

    from drlbench.run.executors.devices import prepare

    torch.set_num_threads(1)
    prepare(_place)


def _stay(reports: Any, place: str) -> None:
    """Do the stages' work in this very process."""
    global _reports, _place
    _reports, _place = reports, place


def _execute(node: Node, root: Path, ranks: int, tracking: Tracking | None) -> Outcome:
    """Make one stage's folder; what goes wrong comes back as text, so that other cells go on."""
    from drlbench.run.executors import devices, torchrun
    from drlbench.run.executors.ranks import run_on_ranks
    from drlbench.stages import ON_RANKS, Job

    store, started = Store(root), time.monotonic()
    folder, partial = store.folder(node.kind, node.key), store.partial(node.key)
    try:
        for kind, key in node.inputs.values():
            atomic.check(store.folder(kind, key), key)
        record = {
            "key": node.key,
            "kind": node.kind,
            "version": node.version,
            "settings": dict(node.settings),
            "inputs": {name: key for name, (_, key) in node.inputs.items()},
            "label": node.label,
        }
        with atomic.artefact(folder, record) as out:
            inputs = {name: store.folder(kind, key) for name, (kind, key) in node.inputs.items()}
            shown = replace(tracking, label=node.label, key=node.key) if tracking else None
            job = Job(node.settings, inputs, out, partial, _place, lambda x: _reports.put((node.key, x)), shown)
            if torchrun.started() and node.kind in ON_RANKS:
                torchrun.run_together(node.kind, job)
            elif ranks > 1 and node.kind in ON_RANKS:
                run_on_ranks(node.kind, job, ranks)
            else:
                devices.run_stage(node.kind, job)
            atomic.write_json(out / "seconds.json", round(time.monotonic() - started, 3))
        shutil.rmtree(partial, ignore_errors=True)
        return Outcome("made", time.monotonic() - started)
    except Exception as error:
        # The boundary of a cell: whatever it was, it is told with its traceback and the other cells go on.
        told = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        return Outcome("failed", time.monotonic() - started, told, traceback.format_exc())
    finally:
        devices.release()


def _worker_environment() -> None:
    """Children read these at import; oversubscribed threads cost a factor of 3 to 6."""
    from drlbench.run.executors.devices import set_environment

    set_environment()
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"


def execute(
    nodes: Sequence[Node],
    store: Store,
    workers: int,
    device: str,
    listen: Listener,
    ranks: int = 1,
    tracking: Tracking | None = None,
) -> dict[str, Outcome]:
    """Run every stage whose result is not in the store, inputs before users, up to `workers` at a time.

    Args:
        nodes: the stages in an order in which inputs come before their users.
        device: "cuda" spreads workers over all GPUs.
        listen: called with ("start" | "progress" | "end", node, outcome or fraction).
        ranks: processes of a fine-tune, one GPU each where the device is cuda.
        tracking: where fine-tunes show their rows.

    Returns:
        key -> outcome for every node. A failed stage never stops the others; its users are `skipped`.
    """
    from drlbench.run.executors import torchrun

    outcomes: dict[str, Outcome] = {}
    waiting = list(nodes)
    _worker_environment()
    context = multiprocessing.get_context("spawn")
    by_key = {n.key: n for n in nodes}
    reports = context.Queue()
    running: dict[Future[Outcome], Node] = {}
    deaths: Counter[str] = Counter()

    devices = places(device, ranks)
    # The process group that torchrun has made lives in this process.
    inside = torchrun.started()

    def pool() -> Executor:
        if inside:
            _stay(reports, torchrun.device_of(device))
            return ThreadPoolExecutor(1)
        free = context.Queue()
        for i in range(workers):
            free.put(devices[i % len(devices)])
        return ProcessPoolExecutor(workers, context, _enter_worker, (reports, os.getpid(), free))

    def settle(node: Node, outcome: Outcome) -> None:
        outcomes[node.key] = outcome
        listen("end", node, outcome)

    executor = pool()
    try:
        while waiting or running:
            for node in list(waiting):
                upstream = [*node.inputs.values(), *node.after]
                states = [outcomes[key].status if key in outcomes else None for _, key in upstream]
                if any(s in ("failed", "skipped") for s in states):
                    waiting.remove(node)
                    settle(node, Outcome("skipped", error="a stage it needs failed"))
                elif all(s is not None for s in states) and store.has(node.kind, node.key):
                    waiting.remove(node)
                    settle(node, Outcome("cached"))
                elif all(s is not None for s in states) and len(running) < (1 if inside else workers):
                    waiting.remove(node)
                    listen("start", node, None)
                    running[executor.submit(_execute, node, store.root, ranks, tracking)] = node
            done, _ = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
            broken = False
            for future in done:
                try:
                    outcome = future.result()
                except BrokenProcessPool:
                    broken = True
                    break
                settle(running.pop(future), outcome)
            while True:
                try:
                    key, fraction = reports.get_nowait()
                except queue.Empty:
                    break
                listen("progress", by_key[key], fraction)
            if broken:
                # Nobody can say which stage killed its worker, so each gets a second chance in a new pool.
                deaths.update(n.key for n in running.values())
                for node in running.values():
                    if deaths[node.key] > 1:
                        settle(
                            node, Outcome("failed", error="its worker process died twice (killed, or out of memory)")
                        )
                    else:
                        waiting.insert(0, node)
                running.clear()
                executor.shutdown(wait=False, cancel_futures=True)
                executor = pool()
    except BaseException:
        for process in list((getattr(executor, "_processes", None) or {}).values()):
            process.terminate()
        executor.shutdown(wait=False, cancel_futures=True)
        raise
    executor.shutdown()
    return outcomes
