"""Stages as tasks of a Ray cluster: `ray start` joins machines to one, and without an address it is this machine.

Ray decides where a stage runs and tries it again where a machine or a process is lost; what a stage reads and writes
goes through the store, by key, so the store's folder must be there on every machine. A fine-tune on several ranks is a
placement group with an actor a rank, joined by `torch.distributed`.

Source: https://docs.ray.io/en/latest/ray-core/fault-tolerance.html
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from typing import Any

import ray
from ray import exceptions
from ray.util.placement_group import placement_group, remove_placement_group

from drlbench.errors import MissingPrerequisite
from drlbench.plan.node import Node
from drlbench.run.executors.base import Outcome, Work, WorkerLost
from drlbench.run.executors.ray_worker import Reports, Setting, in_bundle, stage
from drlbench.run.signals import STOPS, Interrupted
from drlbench.stages import ON_RANKS
from drlbench.store.bucket import SCHEME
from drlbench.store.provenance import versions

RETRIES = 2  # of a stage whose worker or machine is lost; drlbench.run.schedule then gives it one more chance
OBJECTS = 100_000_000  # bytes of Ray's object store where it is started here: only outcomes pass through it
LOOK = 1.0  # seconds between looks at the cluster
HEAD_PATIENCE = 20.0  # seconds without an answer from the head; after 60 Ray itself ends this process
ENVIRONMENT = (
    "HF_HUB_OFFLINE",
    "TRANSFORMERS_OFFLINE",
    "WANDB_MODE",
    "AWS_ENDPOINT_URL",
)  # what `--offline` sets, and an S3 that is not Amazon's
LOST = (exceptions.WorkerCrashedError, exceptions.NodeDiedError, exceptions.ActorDiedError)


def connect(address: str | None, slots: int, device: str, ranks: int, gpus: int | None = None) -> int:
    """Join a cluster, or start Ray on this machine.

    Args:
        address: `auto`, `HOST:PORT` or `ray://HOST:PORT`; None starts one here.
        slots: stages at a time, where it is started here.
        ranks: processes of each fine-tune, which must find room.
        gpus: of this machine, where it is started here; None for all.

    Returns:
        How many stages the cluster takes at a time.

    Raises:
        MissingPrerequisite: there is no cluster at the address, or it has no room for a stage.
    """
    handlers = {stop: signal.getsignal(stop) for stop in STOPS}
    quiet: dict[str, Any] = {"include_dashboard": False, "logging_level": "error", "configure_logging": True}
    if address is not None and address != "auto" and not _answers(address.removeprefix("ray://")):
        raise MissingPrerequisite(_refused(address, ConnectionError("nobody answers there")))
    try:
        if address is None:
            cores = max(slots, ranks)
            ray.init("local", num_cpus=cores, num_gpus=gpus, object_store_memory=OBJECTS, **quiet)
        else:
            ray.init(address, logging_level="error")
    except (ConnectionError, RuntimeError, ValueError, exceptions.RayError) as error:
        raise MissingPrerequisite(_refused(address, error)) from error
    except SystemExit as ended:  # what Ray's own handler makes of SIGTERM meanwhile
        if ended.code in STOPS:
            raise Interrupted(128 + int(ended.code)) from None
        raise
    finally:
        for stop, handler in handlers.items():
            signal.signal(stop, handler)
    unit = "GPU" if device.startswith("cuda") else "CPU"
    count = _count(unit)
    if count < ranks:
        ray.shutdown()
        raise MissingPrerequisite(
            f"the Ray cluster has {count} {unit}s, {ranks} needed; join machines with `ray start`"
        )
    return count


def visit(address: str) -> None:
    """Join a cluster and leave it.

    Raises:
        MissingPrerequisite: it cannot be joined; Ray names the versions where they differ.
    """
    connect(address, 1, "cpu", 1)
    ray.shutdown()


def _refused(address: str | None, error: BaseException) -> str:
    lines = [line.strip() for line in str(error).strip().splitlines()] or [type(error).__name__]
    told = " ".join(lines[:6]) if "mismatch" in lines[0] else lines[0]  # Ray then lists the versions of both sides
    if address is None:
        return f"--executor ray: Ray does not start here ({told})"
    causes, cause = "", error.__cause__ or error.__context__
    while cause is not None:
        causes, cause = causes + str(cause), cause.__cause__ or cause.__context__
    if "AuthToken" in f"{error}{causes}":
        return (
            f"--address {address}: this cluster wants its token; set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH to "
            "a file with what `ray get-auth-token` says on its head"
        )
    return f"--address {address}: no Ray cluster to join ({told}); start one with `ray start --head`"


def _count(unit: str) -> int:
    return int(ray.cluster_resources().get(unit, 0))


class RayExecutor:
    """Stages as Ray tasks, each with the resources it needs."""

    def __init__(self, work: Work, memory: Mapping[str, float]) -> None:
        """
        Args:
            work: with a store that every machine sees under this path.
            memory: key -> bytes of a machine that a stage takes; of a fine-tune, each of its ranks.
        """
        self.work, self.memory = work, memory
        if not str(work.store).startswith(SCHEME):
            self.work = replace(work, store=work.store.absolute())
        self.unit = "GPU" if work.device.startswith("cuda") else "CPU"
        environment = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
        environment |= {name: value for name, value in os.environ.items() if name.startswith("DRLBENCH_")}
        self.setting = Setting(os.getcwd(), environment, versions())
        self.reports: Any = None
        self._asked: Any = None
        self._given_back: list[Any] = []  # groups whose stage has ended
        self._head = _Head()

    @property
    def slots(self) -> int:
        """As many as the cluster has room for now: machines join and leave."""
        return max(self._head.slots(self.unit), 1)

    def submit(self, node: Node) -> Future[Outcome]:
        """See `Executor`."""
        if self.reports is None:
            self.reports = ray.remote(Reports).options(num_cpus=0, max_restarts=-1).remote()
        ranks = self.work.ranks if node.kind in ON_RANKS else 1
        group = None
        options: dict[str, Any] = {"max_retries": RETRIES, "retry_exceptions": False, "name": node.label[:80]}
        if ranks > 1:
            needs = self._needs(node, ranks)
            group = placement_group([dict(needs) for _ in range(ranks)], strategy="PACK")
            # Its ranks hold the resources; a new group is made for the next try.
            options |= {"num_cpus": 0, "max_retries": 0, "scheduling_strategy": in_bundle(group, 0)}
        else:
            needs = self._needs(node, 1)
            options |= {"num_cpus": 1, "num_gpus": needs.get("GPU", 0), "memory": needs.get("memory")}
        task = ray.remote(stage).options(**options)
        reference = task.remote(node, self.work, self.setting, self.reports, group)
        outer: Future[Outcome] = Future()
        if group is not None:
            outer.add_done_callback(lambda done: self._given_back.append(group))
        reference.future().add_done_callback(lambda done: _pass_on(done, outer))
        return outer

    def _needs(self, node: Node, ranks: int) -> dict[str, float]:
        machines = [n["Resources"] for n in ray.nodes() if n["Alive"]]
        rooms = [(m.get("memory", 0.0), int(m.get(self.unit, 0))) for m in machines]
        bytes_ = int(fitting(self.memory[node.key], rooms, ranks))
        wanted: dict[str, float] = {"CPU": 1, "GPU": int(self.unit == "GPU"), "memory": bytes_}
        return {name: amount for name, amount in wanted.items() if amount}

    def progress(self) -> Iterable[tuple[str, float]]:
        """See `Executor`.

        Raises:
            MissingPrerequisite: the head of the cluster is gone.
        """
        self._head.check()
        while self._given_back:  # not where a result comes in: Ray's thread for these would wait for itself
            with suppress(exceptions.RayError):
                remove_placement_group(self._given_back.pop())
        if self.reports is None:
            return
        if self._asked is None:
            self._asked = self.reports.drain.remote()
        ready, _ = ray.wait([self._asked], timeout=0)
        if ready:
            asked, self._asked = self._asked, None
            with suppress(exceptions.RayError):  # it was on a machine that is gone: what it held is told again
                yield from ray.get(asked).items()

    def close(self, at_once: bool) -> None:
        """See `Executor`. Stages of a cluster end with their driver's connection."""
        thread = threading.Thread(target=ray.shutdown, daemon=True)
        thread.start()
        thread.join(5.0 if at_once else None)  # a head that is gone is waited for in vain


def fitting(bytes_: float, rooms: Sequence[tuple[float, int]], ranks: int) -> float:
    """What each rank of a stage asks for: its memory, or less where Ray would else wait for ever.

    Args:
        rooms: of each machine, bytes and how many ranks it takes.

    Returns:
        The most, up to `bytes_`, of which the machines have room for all ranks at once; 0 where there is none.
    """
    shares = (memory / count for memory, most in rooms for count in range(1, most + 1))
    for each in sorted({bytes_, *(s for s in shares if 0 < s < bytes_)}, reverse=True):
        if each and sum(min(int(memory / each + 1e-9), most) for memory, most in rooms) >= ranks:
            return each
    return 0.0


class _Head:
    """What is known of the cluster without asking it at every turn."""

    def __init__(self) -> None:
        self._place = ray.get_runtime_context().gcs_address if not _by_client() else ""
        self._looked = self._heard = time.monotonic()
        self._slots: dict[str, int] = {}

    def slots(self, unit: str) -> int:
        if unit not in self._slots:
            self._slots[unit] = _count(unit)
        return self._slots[unit]

    def check(self) -> None:
        now = time.monotonic()
        if now - self._looked < LOOK:
            return
        self._looked = now
        if self._answers():
            self._heard = now
            self._slots.clear()
        elif now - self._heard > HEAD_PATIENCE:
            raise MissingPrerequisite(
                f"the head of the Ray cluster {self._place} is gone; start it again (`ray start --head`) and give the "
                "same command: nothing that is finished is made again"
            )

    def _answers(self) -> bool:
        return _answers(self._place) if self._place else bool(ray.is_initialized())


def _answers(place: str) -> bool:
    """Whether somebody listens at HOST:PORT."""
    host, _, port = place.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=2.0):
            return True
    except (OSError, ValueError):
        return False


def _by_client() -> bool:
    from ray.util import client

    return bool(client.ray.is_connected())


def _pass_on(done: Future[Any], outer: Future[Outcome]) -> None:
    """Hand a result on; Ray's word for a lost worker becomes ours."""
    if done.cancelled():
        outer.cancel()
        return
    error = done.exception()
    if error is None:
        outer.set_result(done.result())
    elif isinstance(error, exceptions.OutOfMemoryError):
        outer.set_exception(WorkerLost("its worker was ended because the memory of its machine ran out", 6))
    elif isinstance(error, LOST):
        outer.set_exception(WorkerLost("its worker process or its machine was lost"))
    else:
        cause = error.cause if isinstance(error, exceptions.RayTaskError) else error
        outer.set_exception(cause if isinstance(cause, WorkerLost) else error)
