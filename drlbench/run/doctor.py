"""What would stop a run on this machine, and the command that mends it."""

from __future__ import annotations

import resource
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

import drlbench
from drlbench.errors import MissingPrerequisite, UserError
from drlbench.plan.prerequisites import has_gpu, missing, weights_of
from drlbench.run.perform import FREE_BYTES
from drlbench.store.bucket import SCHEME
from drlbench.store.disk import clock_of, preflight, size

if TYPE_CHECKING:
    from drlbench.suite.load import Suite

WORKER_MEMORY = 700_000_000  # bytes of a worker before it does anything
FILES = 1024  # open files: a worker has about a hundred, Ray's raylet one a worker and more
SHARED = 1 << 30  # bytes of /dev/shm, through which ranks (NCCL) and Ray pass data
SKEW = 120.0  # seconds between the clocks of this machine and of its store


@dataclass(frozen=True)
class Trouble:
    """One thing that would stop a run, and the command or the step that mends it."""

    what: str
    mend: str

    def to_text(self) -> str:
        return f"would stop a run: {self.what}\n    {self.mend}"


@dataclass(frozen=True)
class Question:
    """What the machine is asked for.

    Attributes:
        device: cpu or cuda; None takes what is here.
        workers: processes at a time. address: a Ray cluster that it should join.
        suite: whose weights and images are looked for.
    """

    store: Path
    device: str | None
    workers: int
    address: str | None = None
    suite: Suite | None = None


def troubles(ask: Question) -> Iterator[Trouble]:
    """Everything that is in the way, the machine first, then the suite's files."""
    yield from _gpu(ask.device)
    yield from _store(ask.store)
    yield from _memory(ask.workers)
    yield from _limits()
    yield from _clock(ask.store)
    if ask.address is not None:
        yield from _ray(ask.address)
    if ask.suite is not None:
        yield from _files(ask.suite)


def _gpu(device: str | None) -> Iterator[Trouble]:
    import torch

    driver, seen = has_gpu(), torch.cuda.is_available()
    if device == "cuda" and not driver and not seen:
        yield Trouble("no NVIDIA driver is here", "install one (https://www.nvidia.com/drivers), or give --device cpu")
    elif driver and not seen and device != "cpu":
        if torch.version.cuda is None:
            yield Trouble("torch is built without CUDA", "pip install --force-reinstall torch   # a build with CUDA")
        else:
            yield Trouble(
                f"torch (CUDA {torch.version.cuda}) cannot use the NVIDIA driver: {_why_no_cuda()}",
                f"install a driver that knows CUDA {torch.version.cuda}, or a torch for the driver that is here",
            )
    if seen and device != "cpu":
        yield from _each_gpu(torch.cuda.device_count())


def _each_gpu(count: int) -> Iterator[Trouble]:
    """Every GPU multiplies, and where there are several, NCCL joins them."""
    import torch

    broken = {i: why for i in range(count) if (why := fails(f"cuda:{i}"))}
    for i, why in broken.items():
        yield Trouble(
            f"GPU {i} ({torch.cuda.get_device_name(i)}) does not multiply with torch {torch.__version__}: {why}",
            f"nvidia-smi -q -i {i}   # what it says of itself; CUDA_VISIBLE_DEVICES leaves it out",
        )
    if count == 1:
        return
    if not torch.distributed.is_nccl_available():
        yield Trouble("torch has no NCCL, which fine-tunes on several GPUs need", "pip install torch on Linux")
    elif not broken and (why := _nccl_fails(count)):
        yield Trouble(f"NCCL does not join the {count} GPUs: {why}", "NCCL_DEBUG=INFO drlbench doctor   # says more")
    shared = shutil.disk_usage("/dev/shm").total if Path("/dev/shm").is_dir() else 0
    if shared < SHARED:
        yield Trouble(f"/dev/shm has {size(shared)}; ranks pass data through it", "docker run --shm-size=8g ...")


def fails(device: str) -> str:
    """Why a small matrix product does not come out on a device; empty where it does."""
    import torch

    whole = torch.arange(64.0).reshape(8, 8)  # whole numbers, so exact on every device
    try:
        found = (whole.to(device) @ whole.to(device)).cpu()
    except (RuntimeError, AssertionError) as error:
        return (str(error).splitlines() or [type(error).__name__])[0]
    return "" if torch.equal(found, whole @ whole) else "the result is wrong"


def _nccl_fails(count: int) -> str:
    import torch
    from torch.cuda import nccl

    shares = [torch.full((8,), i + 1.0, device=f"cuda:{i}") for i in range(count)]
    try:
        nccl.all_reduce(shares)
        right = all(bool((share == count * (count + 1) / 2).all()) for share in shares)
    except RuntimeError as error:
        return (str(error).splitlines() or [type(error).__name__])[0]
    return "" if right else "a sum over them is wrong"


def _why_no_cuda() -> str:
    import torch

    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return (str(error).splitlines() or [""])[0]
    return "it shows no device (CUDA_VISIBLE_DEVICES?)"


def _store(store: Path) -> Iterator[Trouble]:
    if str(store).startswith(SCHEME):
        return
    new = [p for p in (store, *store.parents) if not p.exists()]
    try:
        preflight(store, FREE_BYTES)
    except MissingPrerequisite as error:
        yield Trouble(str(error), "free some space or rights there, or give another --store")
    finally:
        for path in new:  # a question leaves nothing behind
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()


def _memory(workers: int) -> Iterator[Trouble]:
    available = psutil.virtual_memory().available
    if available < workers * WORKER_MEMORY:
        fits = max(1, available // WORKER_MEMORY)
        yield Trouble(f"{size(available)} of memory free, {workers} workers want {size(workers * WORKER_MEMORY)}",
                      f"drlbench run ... --workers {fits}")  # fmt: skip


def _limits() -> Iterator[Trouble]:
    wanted: tuple[tuple[int, int, str, Callable[[int], str]], ...] = (
        (resource.RLIMIT_NOFILE, FILES, "open files", lambda n: f"ulimit -n {n}"),
        (resource.RLIMIT_NPROC, 512, "processes and threads of this user", lambda n: f"ulimit -u {n}"),
        (resource.RLIMIT_AS, 1 << 33, "bytes of addresses for a process", lambda n: "ulimit -v unlimited"),
        (resource.RLIMIT_FSIZE, FREE_BYTES, "bytes in a file", lambda n: "ulimit -f unlimited"),
    )
    for kind, least, name, how in wanted:
        limit = resource.getrlimit(kind)[0]
        if limit != resource.RLIM_INFINITY and limit < least:
            yield Trouble(f"this shell allows {limit:,} {name}, {least:,} wanted", how(least))


def _clock(store: Path) -> Iterator[Trouble]:
    now, built = time.time(), Path(drlbench.__file__).stat().st_mtime
    if now < built - 86400:
        yield Trouble("the clock is behind the date of drlbench's own files: no certificate will be valid",
                      "timedatectl set-ntp true")  # fmt: skip
    if store.is_dir():
        try:
            skew = clock_of(store) - time.time()
        except OSError:
            return  # told above
        if abs(skew) > SKEW:
            yield Trouble(f"the clock of the store's file system is {skew:+.0f} s from this machine's: logs will "
                          "not agree", "timedatectl set-ntp true   # on both")  # fmt: skip


def _ray(address: str) -> Iterator[Trouble]:
    from drlbench.run.machine import check_executor

    try:
        check_executor("ray", address)
        from drlbench.run.executors.ray import visit

        visit(address)
    except UserError as error:
        yield Trouble(str(error), "pip install the head's versions of Ray and Python, or start the head")


def _files(suite: Suite) -> Iterator[Trouble]:
    from huggingface_hub import get_token

    gated = {asset.name for asset in weights_of(suite.spec) if asset.gated}
    for one in missing(suite):
        what = f"{one.name} ({one.file}, {one.size}) is not here"
        if one.name in gated and get_token() is None:
            what += "; its licence must be accepted, and no Hugging Face token is set (hf auth login)"
        yield Trouble(what, one.how)
