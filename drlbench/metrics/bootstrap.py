"""Resamples shared by every metric and every cell of a run, so that differences are paired by sample.

R resamples, n samples. Most estimators here are smooth in the sample weights, and are resampled through their
first-order expansion: replicate = value + Σᵢ (countᵢ − 1) gᵢ with gᵢ = ∂value/∂weightᵢ (the bootstrap of the
infinitesimal jackknife, Efron 1982). It needs no second evaluation of the estimator, is centred on the estimate
by construction, and for Fréchet distances its spread is closer to the spread over independent draws than that of
the plain bootstrap, whose duplicated samples shrink the covariance (measured in docs/precision.md).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from drlbench.metrics.base import Measurement

LEVEL = 0.95


def resample_counts(n: int, resamples: int = 200, seed: int = 0) -> NDArray[np.int16]:
    """How often each of n samples occurs in each resample of size n: (R, n) int16, the same for the same seed."""
    rng = np.random.default_rng(seed)
    counts = np.empty((resamples, n), dtype=np.int16)
    for r in range(resamples):
        counts[r] = np.bincount(rng.integers(0, n, size=n), minlength=n)
    return counts


def linear_replicates(
    value: float, influence: NDArray[np.float64], counts: NDArray[np.integer[Any]]
) -> NDArray[np.float64]:
    """Replicates (R,) of a smooth estimator from its weight derivatives `influence` (n,)."""
    return value + counts @ influence - influence.sum()


def mean_replicates(values: NDArray[np.float64], counts: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """Replicates (R,) of the mean of per-sample `values` (n,)."""
    return (counts @ values) / len(values)


def measurement(
    metric: str,
    value: float,
    n: int,
    better: str,
    replicates: NDArray[np.float64] | None,
    notes: tuple[str, ...] = (),
    details: dict[str, float] | None = None,
) -> Measurement:
    """A Measurement whose 95 % interval is the percentile interval of `replicates` (NaN ends without any)."""
    low = high = float("nan")
    if replicates is not None and len(replicates):
        tail = 50.0 * (1.0 - LEVEL)
        low, high = (float(q) for q in np.percentile(replicates, [tail, 100.0 - tail]))
    return Measurement(metric, float(value), low, high, n, better, replicates, notes, details or {})


def counts_or_default(
    counts: NDArray[np.integer[Any]] | None, n: int, resamples: int
) -> NDArray[np.integer[Any]] | None:
    """The caller's counts, or fresh ones; None when `resamples` is 0.

    Raises:
        ValueError: the counts belong to another number of samples.
    """
    if counts is None:
        return resample_counts(n, resamples) if resamples else None
    if counts.ndim != 2 or counts.shape[1] != n:
        raise ValueError(f"counts of shape {counts.shape} do not fit {n} samples")
    return counts
