"""The common shape of a measured number, and of what measures it.

Shapes: n generated samples, m reference samples, D feature dimension, R bootstrap replicates, H and W image
height and width, C image channels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from drlbench.errors import UserError


@dataclass(frozen=True)
class Measurement:
    """One number with its uncertainty and what it rests on.

    Attributes:
        metric: the name in results.csv (fd, fd_val, kd_x1000, precision, ...).
        value: the point estimate on all samples.
        low, high: ends of the 95 % interval over samples (first-order standard errors, 1.96 where no sample stands
            out, unless the metric says else); NaN where only moments are known and samples cannot be resampled.
        n: how many generated samples the value rests on.
        better: "lower", "higher" or "closer" (to the reference value, for image statistics).
        replicates: (R,) float64 bootstrap replicates. Replicate r of every metric and every cell of a run uses
            the same resample of sample indices, so differences between cells are paired by seed.
        notes: plain warnings (n < d, rank deficiency, ...).
        details: further numbers of the same computation (standard_error, rank, reference, ...).
    """

    metric: str
    value: float
    low: float
    high: float
    n: int
    better: str
    replicates: NDArray[np.float64] | None = field(default=None, repr=False)
    notes: tuple[str, ...] = field(default=())
    details: Mapping[str, float] = field(default_factory=dict, repr=False)

    def scaled(self, factor: float) -> Measurement:
        """The number, its interval and replicates times a positive factor; details are kept as they are."""
        replicates = None if self.replicates is None else factor * self.replicates
        ends = factor * self.value, factor * self.low, factor * self.high
        return Measurement(self.metric, *ends, self.n, self.better, replicates, self.notes, self.details)

    @property
    def rank_deficient(self) -> bool:
        """True when a covariance behind the number has fewer independent directions than dimensions."""
        return bool(self.details.get("rank_deficient", 0.0))


@dataclass(frozen=True)
class Evidence:
    """Everything a metric may look at for one cell in one space. What was not gathered is None.

    Attributes:
        features: (n, D) features of the generated samples.
        labels: (n,) int class of each generated sample.
        images: (n, H, W, C) uint8 generated images.
        reference: (m, D) features of the training data, or an object with mean, covariance and n.
        reference_val: (m, D) features of held-out data.
        reference_val_labels: (m,) int class of each held-out sample.
        reference_images: (m, H, W, C) uint8 held-out images.
        counts: (R, n) how often each sample occurs in each resample (`bootstrap.resample_counts`).
        num_classes: number of classes.
    """

    counts: NDArray[np.integer[Any]]
    features: NDArray[np.floating[Any]] | None = None
    labels: NDArray[np.integer[Any]] | None = None
    images: NDArray[np.uint8] | None = None
    reference: Any = None
    reference_val: NDArray[np.floating[Any]] | None = None
    reference_val_labels: NDArray[np.integer[Any]] | None = None
    reference_images: NDArray[np.uint8] | None = None
    num_classes: int | None = None

    def require(self, metric: str, *names: str) -> None:
        """Raise UserError when something the metric cannot do without was not gathered."""
        missing = [name for name in names if getattr(self, name) is None]
        if missing:
            raise UserError(f"metric '{metric}' needs {', '.join(missing)}, which this run does not provide")


class Metric(ABC):
    """What a registered metric name stands for.

    Attributes:
        needs: "features" (measured once per space) or "images" (measured once per cell).
    """

    needs: ClassVar[Literal["features", "images"]]

    @classmethod
    def operations(cls, n: int, train: int, heldout: int, width: int, resamples: int) -> float:
        """What `measure` takes on the CPU, roughly, for a plan: n samples of `width` numbers against real images."""
        return float(n * width)

    @abstractmethod
    def measure(self, evidence: Evidence) -> list[Measurement]:
        """All numbers this metric yields, in the order they are printed.

        Raises:
            UserError: the evidence lacks something the metric needs.
        """
