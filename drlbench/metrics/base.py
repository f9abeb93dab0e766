"""The common shape of a measured number."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Measurement:
    """One number with its uncertainty and what it rests on.

    Attributes:
        metric: the name in results.csv (fd, fd_val, kd_x1000, precision, ...).
        value: the point estimate on all samples.
        low, high: ends of the 95 % interval (percentile bootstrap over samples unless the metric says else).
        n: how many generated samples the value rests on.
        better: "lower", "higher" or "closer" (to the reference value, for image statistics).
        replicates: (R,) float64 bootstrap replicates. Replicate r of every metric and every cell of a run uses
            the same resample of sample indices, so differences between cells are paired by seed.
        notes: plain warnings (n < d, rank deficiency, ...).
    """

    metric: str
    value: float
    low: float
    high: float
    n: int
    better: str
    replicates: NDArray[np.float64] | None = None
    notes: tuple[str, ...] = field(default=())
