"""What an executor is: something that makes stages one by one, as many at a time as it has slots.

`drlbench.run.schedule` decides what is made when, who may make it, and what becomes of failures; an executor only
carries stages out. A new one is a file with a class of this protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from drlbench.plan.node import Node
from drlbench.tracking import Tracking


@dataclass(frozen=True)
class Outcome:
    """How a stage ended.

    Attributes:
        status: `made`, `cached`, `failed` or `skipped` (an input failed).
        seconds: of its work.
        error: one message; `detail` is the traceback.
        code: the exit code that a failure asks for: 1, 5 where a stored file is damaged, 6 where a resource is missing.
    """

    status: str
    seconds: float = 0.0
    error: str = ""
    detail: str = ""
    code: int = 0


Listener = Callable[[str, Node, Outcome | float | str | None], None]


@dataclass(frozen=True)
class Work:
    """What every stage of a run is made with; nothing here changes a number.

    Attributes:
        store: root of the store, seen by every worker under this path.
        device: cpu, cuda or cuda:N.
        ranks: processes of each fine-tune.
        gpus: of this machine that are used; None for all.
        tracking: where fine-tunes show their rows.
    """

    store: Path
    device: str
    ranks: int = 1
    tracking: Tracking | None = None
    gpus: int | None = None


class WorkerLost(Exception):
    """The process or machine that made a stage is gone; the message says what is known. It may be tried again."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


class Executor(Protocol):
    """Makes stages; used from one thread.

    Attributes:
        slots: stages at a time. Where it can change (machines join a cluster), a property.
    """

    @property
    def slots(self) -> int: ...

    def submit(self, node: Node) -> Future[Outcome]:
        """Begin a stage whose inputs are in the store.

        Its future gives an outcome (`made` or `failed`; `drlbench.run.executors.work.make` is what a worker calls), or
        raises WorkerLost.
        """

    def progress(self) -> Iterable[tuple[str, float]]:
        """(key, fraction done) told by stages since the last call."""

    def close(self, at_once: bool) -> None:
        """End all workers: after their stages, or at once and with everything they have started."""
