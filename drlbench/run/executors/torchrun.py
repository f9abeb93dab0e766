"""Ranks that `torchrun` has started, on one machine or several that share the store.

    torchrun --nproc-per-node 8 -m drlbench run SUITE --device cuda

Rank 0 runs the suite, stage after stage. The others wait in `serve` and join in the stages of `ON_RANKS`; a stage's
job reaches them through the process group, its inputs through the store. A rank that fails ends its process, torchrun
ends the rest, and the same command continues the run.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

from drlbench.errors import UserError
from drlbench.run.executors.devices import prepare, run_stage
from drlbench.run.executors.ranks import PATIENCE
from drlbench.stages import Job

BETWEEN_STAGES = timedelta(days=30)  # what rank 0 may take for stages of its own, while the others wait for its word

# The group of those words: gloo's, because NCCL would keep every waiting GPU busy and give up after `PATIENCE`.
_words: Any = None


def started() -> bool:
    """Whether torchrun started this process as one of several ranks."""
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def device_of(device: str) -> str:
    """This rank's device: on GPUs the one of its place on its machine."""
    return f"cuda:{os.environ['LOCAL_RANK']}" if device == "cuda" else device


@contextmanager
def group(device: str) -> Iterator[int]:
    """Join the process group (NCCL on GPUs, else gloo); gives the rank. At the end of rank 0 the others are let go.

    Raises:
        UserError: a single GPU is named for all ranks.
    """
    import torch
    from torch import distributed

    if device.startswith("cuda:"):
        raise UserError(f"--device {device} is one GPU for all ranks; under torchrun give --device cuda")
    torch.set_num_threads(1)
    prepare(device_of(device))
    distributed.init_process_group("nccl" if device == "cuda" else "gloo", timeout=PATIENCE)
    global _words
    _words = distributed.new_group(backend="gloo", timeout=BETWEEN_STAGES)
    try:
        yield distributed.get_rank()
        if distributed.get_rank() == 0:
            _tell(None)
    finally:
        distributed.destroy_process_group()


def serve(device: str) -> None:
    """Take part in every stage that rank 0 announces, until there is none."""
    while (told := _tell(None)) is not None:
        kind, job = told
        _run(kind, replace(job, device=device_of(device), progress=_silent))


def run_together(kind: str, job: Job) -> None:
    """On rank 0: run a stage on all ranks. The first failure ends this process, since ranks wait for each other."""
    _tell((kind, replace(job, progress=_silent)))
    _run(kind, job)


def _tell(what: tuple[str, Job] | None) -> Any:
    """Rank 0's word, on every rank."""
    from torch import distributed

    holder: list[Any] = [what]
    distributed.broadcast_object_list(holder, src=0, group=_words)
    return holder[0]


def _run(kind: str, job: Job) -> None:
    try:
        run_stage(kind, job)
    except Exception as error:
        # Other ranks may be waiting in the middle of the stage; only the end of a process makes torchrun end them.
        print(f"drlbench: {error}" if isinstance(error, UserError) else traceback.format_exc(), file=sys.stderr)
        sys.stderr.flush()
        os._exit(1)


def _silent(done: float) -> None:
    """Only rank 0 tells how far it is."""
