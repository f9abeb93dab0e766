"""What the workers of a Ray cluster do: one stage a task, one rank of a fine-tune an actor.

A worker makes itself like the process that runs the suite (folder, environment, versions) and takes its device from
Ray, which shows it its own GPU only.
"""

from __future__ import annotations

import os
import socket
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import ray
from ray import exceptions
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from drlbench.errors import MissingPrerequisite, UserError
from drlbench.plan.node import Node
from drlbench.run.executors.base import Outcome, Work, WorkerLost
from drlbench.run.executors.ranks import PATIENCE, RankFailed
from drlbench.stages import Job
from drlbench.store.provenance import versions

DEATH = 5.0  # seconds in which Ray tells of an actor's death


@dataclass(frozen=True)
class Setting:
    """What a worker takes over from the process that runs the suite."""

    folder: str
    environment: dict[str, str]
    versions: dict[str, str]


class Reports:
    """An actor that holds how far stages are until the driver asks."""

    def __init__(self) -> None:
        self.last: dict[str, float] = {}

    def tell(self, key: str, done: float) -> None:
        self.last[key] = done

    def drain(self) -> dict[str, float]:
        told, self.last = self.last, {}
        return told


def in_bundle(group: Any, bundle: int) -> Any:
    """The place of a task or an actor: one bundle of a placement group."""
    return PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=bundle)


_place: str | None = None  # the device of this worker, once it is made ready


def _enter(work: Work, setting: Setting) -> str:
    """Make a worker process ready, once: folder, environment, one thread, its device.

    Raises:
        UserError: this machine has another drlbench or torch than the one that the suite is run from.
    """
    global _place
    if _place is None:
        if Path(setting.folder).is_dir():
            os.chdir(setting.folder)
        os.environ.update(setting.environment)
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            os.environ[name] = "1"
        here = versions()
        for name, version in setting.versions.items():
            if here[name] != version:
                raise MissingPrerequisite(
                    f"{socket.gethostname()} has {name} {here[name]}, the run was started with {version}; "
                    "install the same on every machine"
                )
        import torch

        from drlbench.run.executors.devices import prepare

        torch.set_num_threads(1)
        device = "cuda:0" if work.device == "cuda" else work.device  # Ray shows a task its own GPU only
        prepare(device)
        _place = device
    return _place


def stage(node: Node, work: Work, setting: Setting, reports: Any, group: Any) -> Outcome:
    """A task: one stage."""
    from drlbench.run.executors.work import make

    started = time.monotonic()
    try:
        place = work.device if group is not None else _enter(work, setting)
        if group is not None:
            _enter(replace(work, device="cpu"), setting)
    except UserError as error:
        return Outcome("failed", time.monotonic() - started, str(error), traceback.format_exc(), error.exit_code)

    def tell(done: float) -> None:
        reports.tell.remote(node.key, done)

    if group is None:
        return make(node, replace(work, ranks=1), place, tell)
    return make(node, work, place, tell, lambda kind, job: _together(kind, job, work, setting, group))


def _together(kind: str, job: Job, work: Work, setting: Setting, group: Any) -> None:
    """One stage on all ranks of a placement group.

    Raises:
        UserError: a rank raised one. WorkerLost: the machine of a rank is gone. RankFailed: anything else.
    """
    gpus = 1 if work.device.startswith("cuda") else 0
    actor = ray.remote(_Rank)
    ranks = [
        actor.options(num_cpus=1, num_gpus=gpus, scheduling_strategy=in_bundle(group, i)).remote(i, work, setting)
        for i in range(work.ranks)
    ]
    quiet = replace(job, progress=_silent)
    try:
        homes = ray.get([rank.home.remote() for rank in ranks])
        meet = ray.get(ranks[0].meet.remote())
        told = {
            rank.run.remote(kind, quiet, meet, job.progress if not i else _silent): i for i, rank in enumerate(ranks)
        }
        while told:
            done, _ = ray.wait(list(told), num_returns=1)
            failed = _ended(done[0], told.pop(done[0]), homes)
            if failed is not None:
                # The others of a rank that has died see their connections break, perhaps before its death is told.
                for other in ray.wait(list(told), num_returns=len(told), timeout=DEATH)[0] if told else []:
                    _ended(other, told[other], homes)
                raise failed
    finally:
        for rank in ranks:  # whatever happened, none stays
            ray.kill(rank)


def _ended(reference: Any, number: int, homes: Sequence[str]) -> Exception | None:
    """What went wrong on a rank that has ended.

    Raises:
        WorkerLost: its machine is gone. RankFailed: its process is.
    """
    try:
        failed = ray.get(reference)
    except exceptions.RayActorError:
        _lost(number, homes[number])
    if failed is None:
        return None
    error, trace = failed
    told: Exception = RankFailed(f"rank {number}:\n{trace}")
    if error is not None:
        error.__cause__ = told
        return error
    return told


def _lost(rank: int, home: str) -> NoReturn:
    """Tell a lost machine, on which nobody can be blamed, from a process that died."""
    deadline = time.monotonic() + 3.0
    while time.monotonic() < deadline:
        if not any(n["NodeID"] == home and n["Alive"] for n in ray.nodes()):
            raise WorkerLost(f"the machine of rank {rank} was lost")
        time.sleep(0.5)
    raise RankFailed(f"rank {rank} died (killed, or out of memory); the others were ended with it")


def _silent(done: float) -> None:
    """Only rank 0 tells how far it is."""


class _Rank:
    """An actor: one process of a process group."""

    def __init__(self, rank: int, work: Work, setting: Setting) -> None:
        self.rank, self.work = rank, work
        self.device = _enter(work, setting)
        self.store: Any = None

    def home(self) -> str:
        return str(ray.get_runtime_context().get_node_id())

    def meet(self) -> tuple[str, int]:
        """Where the ranks find one another; asked of rank 0."""
        from torch.distributed import TCPStore  # type: ignore[attr-defined] # not exported in the stubs

        host = ray.util.get_node_ip_address()
        self.store = TCPStore(host, 0, self.work.ranks, is_master=True, timeout=PATIENCE, wait_for_workers=False)
        return host, self.store.port

    def run(
        self, kind: str, job: Job, meet: tuple[str, int], progress: Callable[[float], None]
    ) -> tuple[UserError | None, str] | None:
        """Join the others, do the stage; what goes wrong comes back as (an error of the user's, the traceback)."""
        from torch import distributed
        from torch.distributed import TCPStore  # type: ignore[attr-defined] # as above

        from drlbench.run.executors.devices import run_stage

        backend = "nccl" if self.device.startswith("cuda") else "gloo"
        try:
            store = self.store or TCPStore(*meet, self.work.ranks, timeout=PATIENCE)
            distributed.init_process_group(
                backend, store=store, rank=self.rank, world_size=self.work.ranks, timeout=PATIENCE
            )
            run_stage(kind, replace(job, device=self.device, progress=progress))
            distributed.barrier()
            distributed.destroy_process_group()
        except Exception as error:
            # The boundary of a process: whoever started it raises it again.
            return error if isinstance(error, UserError) else None, traceback.format_exc()
        return None
