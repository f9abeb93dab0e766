"""What a third party's kind of stage is: something that measures samples, with a folder, a key and a cost of its own.

A metric looks at what a run has gathered anyway; a stage of one's own is for what takes long or needs other files: it
is made once, kept in the store, made again when its version or its settings change, and priced by `drlbench plan`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from drlbench.stages import Job
from drlbench.stages.files import read_samples, write_measurements

if TYPE_CHECKING:
    from drlbench.cost.stage import Stage
    from drlbench.cost.work import Work

__all__ = ["Job", "MeasuringStage", "read_samples", "write_measurements"]


class MeasuringStage(ABC):
    """A kind that an entry of a suite's `stages` names; the entry's other keys are the constructor's arguments.

    Attributes:
        version: raise it when the same settings give other numbers.
    """

    version: ClassVar[int] = 1

    @abstractmethod
    def run(self, job: Job) -> None:
        """Measure `read_samples(job.inputs["samples"])` and `write_measurements(job.out, ...)`.

        Args:
            job: its settings have `name`, what the suite calls the stage, and so its metric; `resamples` of the
                bootstrap; and `data`, the suite's images.
        """

    def cost(self, of: Stage) -> Work:
        """What `run` does, in the terms of `of`; see `drlbench.cost.stage`. A kind that does not say so is not counted.

        Raises:
            NotCounted: see `Stage.not_counted`.
        """
        raise of.not_counted(f"stages of kind {of.node.kind} do not declare their cost")
