"""A process made ready for stages: the same numbers on every run of a GPU, and memory given back in between.

On CUDA many operations add in whatever order threads arrive, attention's gradient above all. Here they are made to take
the order that repeats (https://docs.pytorch.org/docs/stable/notes/randomness.html); a CPU needs none of it.
"""

from __future__ import annotations

import ctypes
import gc
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from drlbench.stages import Job, stage_function

T = TypeVar("T")
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, INT_MAX = -1, -3, 2**31 - 1  # malloc.h of glibc

# What torch says of an operation that has no order that repeats, and cuDNN of a convolution it has none for.
REFUSALS = ("use_deterministic_algorithms", "unable to find an engine", "CUDNN_STATUS_NOT_SUPPORTED")


def set_environment() -> None:
    """What cuBLAS reads when it starts: a workspace per stream (32 MiB, as much as it takes by itself on Hopper)."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def prepare(device: str) -> None:
    """Make this process compute on its GPU, in an order that repeats; on any device let it keep the host's memory."""
    _keep_memory()
    if not device.startswith("cuda"):
        return
    import torch

    set_environment()
    if ":" in device:
        torch.cuda.set_device(device)
    _insist(True)


def _keep_memory() -> None:
    """Until `release`, let glibc hand freed tensors out again; the kernel zeroes every page that it is asked for.

    By itself glibc maps each block beyond 32 MiB anew: a small convolution's training step spends a third of its time
    there (docs/performance.md). Other C libraries have no such calls.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(M_MMAP_THRESHOLD, INT_MAX)
        libc.mallopt(M_TRIM_THRESHOLD, INT_MAX)


def _insist(strictly: bool) -> None:
    """Only strictly does attention's gradient repeat; otherwise an operation that cannot repeat is told and run."""
    import torch

    torch.use_deterministic_algorithms(True, warn_only=not strictly)
    # Buffers that are about to be written need no NaN first.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined] # a property of the module


def run_stage(kind: str, job: Job) -> None:
    """Call a stage's function; where an operation of it cannot repeat on this GPU, say so and run it as it is."""
    repeatably(kind, job.device, lambda: stage_function(kind, job.settings)(job), lambda: _empty(job.out))


def repeatably(what: str, device: str, work: Callable[[], T], clear: Callable[[], None] = lambda: None) -> T:
    """Do `work` in the order that repeats; where an operation has none, say so, `clear` and do it as it is."""
    try:
        return work()
    except RuntimeError as error:
        if not (device.startswith("cuda") and any(refusal in str(error) for refusal in REFUSALS)):
            raise
        told = str(error).splitlines()[0]
    print(f"drlbench: {what}: another run may differ in the last digits: {told}", file=sys.stderr)
    clear()
    _insist(False)
    try:
        return work()
    finally:
        _insist(True)


def _empty(folder: Path) -> None:
    """Take out what the first attempt has written; of several ranks, the one that writes."""
    from torch import distributed

    if distributed.is_available() and distributed.is_initialized() and distributed.get_rank() > 0:
        return
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def release() -> None:
    """Give back the memory that this process's allocators keep, for other workers of the machine and on the same GPU.

    A process whose GPU has failed (an illegal access, a device-side assertion) can never use it again: it ends, and the
    stage is tried in another one.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return
    gc.collect()
    try:
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
    except RuntimeError as error:
        print(f"drlbench: the GPU of process {os.getpid()} has failed: {error}", file=sys.stderr, flush=True)
        os._exit(1)
