"""Run one stage on several ranks of this machine: a process each, joined in a process group.

On GPUs every rank has one of its own (NCCL); on the CPU ranks are plain processes (gloo). The stage's function is
the same: it sees the group through `torch.distributed`, and only rank 0 writes its folder.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import tempfile
import traceback
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from drlbench.errors import UserError
from drlbench.run.executors.devices import prepare, run_stage
from drlbench.run.executors.orphan import end_with
from drlbench.stages import Job

PATIENCE = timedelta(minutes=60)  # ranks wait for each other while one saves, measures or compiles


class RankFailed(Exception):
    """A rank raised or died; the message is its traceback."""


def run_on_ranks(kind: str, job: Job, ranks: int) -> None:
    """Call the stage's function on `ranks` processes and wait; the first failure ends them all.

    Raises:
        UserError: a rank raised one. RankFailed: anything else.
    """
    context = multiprocessing.get_context("spawn")
    reports: Any = context.Queue()
    with tempfile.TemporaryDirectory(prefix="drlbench-") as place:
        processes = [
            context.Process(
                target=_rank,
                args=(kind, replace(job, progress=_silent), rank, ranks, Path(place) / "meet", reports, os.getpid()),
            )
            for rank in range(ranks)
        ]
        try:
            for process in processes:
                process.start()
            _follow(processes, reports, job)
        finally:
            for process in processes:
                if process.pid is not None:
                    process.kill()
                    process.join()


def _follow(processes: list[Any], reports: Any, job: Job) -> None:
    waiting = set(range(len(processes)))
    while waiting:
        try:
            what, rank, value = reports.get(timeout=0.5)
        except queue.Empty:
            dead = [r for r in waiting if processes[r].exitcode not in (None, 0)]
            if dead:
                code = processes[dead[0]].exitcode
                raise RankFailed(f"rank {dead[0]} died with exit code {code} (killed, or out of memory)") from None
            continue
        if what == "progress":
            job.progress(value)
        elif what == "done":
            waiting.remove(rank)
        else:
            error, trace = value
            if error is not None:
                raise error from RankFailed(trace)
            raise RankFailed(f"rank {rank}:\n{trace}")


def _silent(done: float) -> None:
    """Only rank 0 tells how far it is."""


def _rank(kind: str, job: Job, rank: int, ranks: int, meet: Path, reports: Any, parent: int) -> None:
    """One process: join the group, run the stage, report."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with(parent)
    import torch
    from torch import distributed

    torch.set_num_threads(1)
    try:
        device, backend = job.device, "gloo"
        if device.startswith("cuda"):
            device, backend = f"cuda:{rank}", "nccl"
        prepare(device)
        distributed.init_process_group(
            backend, init_method=f"file://{meet}", rank=rank, world_size=ranks, timeout=PATIENCE
        )
        if rank == 0:
            job = replace(job, progress=lambda done: reports.put(("progress", 0, done)))
        run_stage(kind, replace(job, device=device))
        distributed.barrier()
        distributed.destroy_process_group()
        reports.put(("done", rank, None))
    except Exception as error:
        # The boundary of a process: the parent raises it again.
        told = error if isinstance(error, UserError) else None
        reports.put(("failed", rank, (told, traceback.format_exc())))
