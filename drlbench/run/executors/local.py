"""Stages on this machine: one process a worker, one thread a process.

Stages exchange nothing but store keys, so the order of execution, the number of workers and a kill at any
instant leave no trace in the results.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import resource
import signal
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from drlbench.plan.node import Node
from drlbench.run.executors.base import Outcome, Work, WorkerLost
from drlbench.run.executors.orphan import end_with
from drlbench.run.executors.work import make
from drlbench.run.signals import STOPS, deferred, kill_children
from drlbench.store.disk import refusal
from drlbench.store.provenance import cores

_reports: Any = None
_place = "cpu"  # the device of this worker
_unfit: BaseException | None = None  # why this worker cannot work


def shares(device: str, ranks: int = 1, gpus: int | None = None) -> list[tuple[str, str | None]]:
    """(device, GPUs that it sees) of workers in turn: one GPU each for "cuda", one for each rank of a fine-tune.

    Args:
        gpus: take so many of this machine's only.

    Returns:
        The second as in CUDA_VISIBLE_DEVICES; None leaves it as it is.
    """
    if device != "cuda":
        return [(device, None)]
    import torch

    count = torch.cuda.device_count()
    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    seen = (named or [str(i) for i in range(count)])[:count][:gpus]
    groups = [seen[i : i + ranks] for i in range(0, len(seen) - ranks + 1, ranks)]
    return [("cuda:0" if ranks == 1 else "cuda", ",".join(group)) for group in groups] or [(device, None)]


def default_workers(device: str, ranks: int = 1, gpus: int | None = None) -> int:
    """One worker per GPU, or per core without one; with ranks, as many as have GPUs for all of theirs."""
    if device != "cpu" or ranks > 1:
        return len(shares(device, ranks, gpus))
    return cores()


def _enter_worker(reports: Any, parent: int, free: Any) -> None:
    """A device of its own, one thread, no Ctrl-C (the parent decides), and no life after the parent."""
    global _reports, _place, _unfit
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a pool that has lost a worker ends the others with it
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
    end_with(parent)
    _reports, (_place, seen) = reports, free.get()
    if seen is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = seen
    try:
        import torch

        from drlbench.run.executors.devices import prepare

        torch.set_num_threads(1)
        prepare(_place)
    except Exception as error:
        _unfit = error  # told by the first stage; raised here, it would only break the pool


def _make(node: Node, work: Work) -> Outcome:
    if _unfit is not None:
        known = refusal(_unfit)
        raise WorkerLost(str(known or _unfit), known.exit_code if known else 1)
    return make(node, work, _place, lambda done: _reports.put((node.key, done)))


def _worker_environment() -> None:
    """Children read these at import; oversubscribed threads cost a factor of 3 to 6."""
    from drlbench.run.executors.devices import set_environment

    set_environment()
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"


class LocalExecutor:
    """Worker processes of this machine; "cuda" spreads them over all GPUs."""

    def __init__(self, work: Work, workers: int) -> None:
        self.work, self.slots = work, workers
        _worker_environment()
        self._context = multiprocessing.get_context("spawn")
        self._reports: Any = self._context.Queue()
        self._shares = shares(work.device, work.ranks, work.gpus)
        self._pool = self._new_pool()

    def _new_pool(self) -> ProcessPoolExecutor:
        free: Any = self._context.Queue()
        for i in range(self.slots):
            free.put(self._shares[i % len(self._shares)])
        return ProcessPoolExecutor(self.slots, self._context, _enter_worker, (self._reports, os.getpid(), free))

    def submit(self, node: Node) -> Future[Outcome]:
        """See `Executor`."""
        with deferred():  # a worker is born deaf to signals, so that none hits it half-made
            try:
                inner = self._pool.submit(_make, node, self.work)
            except BrokenProcessPool:
                self._pool.shutdown(wait=False, cancel_futures=True)
                self._pool = self._new_pool()
                inner = self._pool.submit(_make, node, self.work)
        outer: Future[Outcome] = Future()
        processes = getattr(self._pool, "_processes", None) or {}
        inner.add_done_callback(lambda done: _pass_on(done, outer, processes))
        return outer

    def progress(self) -> Iterable[tuple[str, float]]:
        """See `Executor`."""
        return _drain(self._reports)

    def close(self, at_once: bool) -> None:
        """See `Executor`."""
        if at_once:
            kill_children()
            self._pool.shutdown(wait=False, cancel_futures=True)
        else:
            self._pool.shutdown()


class InProcessExecutor:
    """One stage at a time in this very process: rank 0 of the process group that torchrun has made lives here."""

    slots = 1

    def __init__(self, work: Work, place: str) -> None:
        self.work, self.place = work, place
        _worker_environment()
        self._reports: Any = queue.Queue()
        self._pool = ThreadPoolExecutor(1)

    def submit(self, node: Node) -> Future[Outcome]:
        """See `Executor`."""
        return self._pool.submit(make, node, self.work, self.place, lambda done: self._reports.put((node.key, done)))

    def progress(self) -> Iterable[tuple[str, float]]:
        """See `Executor`."""
        return _drain(self._reports)

    def close(self, at_once: bool) -> None:
        """See `Executor`."""
        self._pool.shutdown(wait=not at_once, cancel_futures=True)


def _drain(reports: Any) -> Iterator[tuple[str, float]]:
    while True:
        try:
            yield reports.get_nowait()
        except queue.Empty:
            return


def _pass_on(done: Future[Outcome], outer: Future[Outcome], processes: Any) -> None:
    """Hand a result on; a broken pool becomes a lost worker, with what its exit code tells."""
    if done.cancelled():
        outer.cancel()
        return
    error = done.exception()
    if isinstance(error, BrokenProcessPool):
        # The pool ends the others with SIGTERM; the first to die is the cause.
        codes = {p.exitcode for p in list(processes.values())} - {None, 0, -signal.SIGTERM}
        outer.set_exception(_death(codes))
    elif error is not None:
        outer.set_exception(error)
    else:
        outer.set_result(done.result())


def _death(codes: set[int | None]) -> WorkerLost:
    limited = resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY
    killed = -signal.SIGKILL in codes
    if killed or limited:
        return WorkerLost("its worker process was killed (by hand, or because memory ran out)", 6)
    names = ", ".join(signal.Signals(-c).name if c is not None and c < 0 else str(c) for c in codes) or "unknown"
    return WorkerLost(f"its worker process died (exit code {names})", 1)
