"""Resamples shared by every metric and every cell of a run, so that differences are paired by sample.

R resamples, n samples. Most estimators here are smooth in the sample weights, and are resampled through their
first-order expansion: replicate = value + Σᵢ (countᵢ − 1) gᵢ with gᵢ = ∂value/∂weightᵢ (the bootstrap of the
infinitesimal jackknife, Efron 1982). It needs no second evaluation of the estimator, is centred on the estimate
by construction, and for Fréchet distances its spread is closer to the spread over independent draws than that of
the plain bootstrap, whose duplicated samples shrink the covariance (measured in docs/precision.md).

Replicates are for differences and ratios, where pairing counts. A number's own interval needs none of them: its
standard error is known exactly, √(n/(n − 1) Σ (gᵢ − ḡ)²), where percentiles of 200 replicates add their own noise.
How many standard errors it takes on either side follows from the skewness and the kurtosis of the gᵢ (`quantiles`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from drlbench.metrics.base import Measurement

LEVEL = 0.95
SYMMETRIC = 1e-6  # a skewness of the mean below which the cubic is t to rounding
HALF, FIFTH, FEWEST = 0.5, 0.2, 50  # of `heavy`; of fewer samples one is always much
NORMAL = float(special.ndtri(0.5 * (1.0 + LEVEL)))  # half a 95 % interval in standard errors


def resample_counts(n: int, resamples: int = 200, seed: int = 0) -> NDArray[np.int16]:
    """How often each of n samples occurs in each resample of size n: (R, n) int16, the same for the same seed."""
    rng = np.random.default_rng(seed)
    counts = np.empty((resamples, n), dtype=np.int16)
    for r in range(resamples):
        counts[r] = np.bincount(rng.integers(0, n, size=n), minlength=n)
    return counts


def wilson(successes: int, n: int) -> tuple[float, float]:
    """95 % Wilson interval of a share of n independent draws; NaN of none."""
    if not n:
        return float("nan"), float("nan")
    z = NORMAL
    share, scale = successes / n, 1 + z * z / n
    centre = (share + z * z / (2 * n)) / scale
    half = z / scale * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # At the ends the formula gives 0 and 1, but for rounding.
    return float(centre - half) if successes else 0.0, float(centre + half) if successes < n else 1.0


def linear_replicates(
    value: float, influence: NDArray[np.float64], counts: NDArray[np.integer[Any]]
) -> NDArray[np.float64]:
    """Replicates (R,) of a smooth estimator from its weight derivatives `influence` (n,)."""
    return value + counts @ influence - influence.sum()


def standard_error(influence: NDArray[np.float64]) -> float:
    """Standard error of a smooth estimator from its weight derivatives (n,)."""
    n = len(influence)
    return float(np.sqrt(np.square(influence - influence.mean()).sum() * n / max(n - 1, 1)))


def quantiles(influence: NDArray[np.float64]) -> tuple[float, float]:
    """Standard errors that a 95 % interval reaches below and above a smooth estimator: 1.96 both where g is normal.

    Of g's (n,) skewness γ and excess kurtosis κ: Student's t, with the degrees of freedom at which the squared standard
    error varies as it does, Var(s²)/s⁴ = (κ + 2)/n = 2/df; then Hall's cubic for the skewness of the studentised mean
    (Hall 1992, On the removal of skewness by transformation), t = T + γT²/(3√n) + γ²T³/(27n) + γ/(6√n), solved for T.
    """
    n, centred = len(influence), influence - influence.mean()
    variance = float(np.square(centred).mean())
    if variance <= 0:
        return 0.0, 0.0
    kurtosis = float((np.square(centred) ** 2).mean()) / variance**2 - 3.0
    skew = float((centred * np.square(centred)).mean()) / variance**1.5 / np.sqrt(n)
    t = float(special.stdtrit(2.0 * n / (max(kurtosis, 0.0) + 2.0), 0.5 * (1.0 + LEVEL)))
    if abs(skew) < SYMMETRIC:
        return t, t
    ends = 3.0 / skew * (np.cbrt(1.0 + skew * (np.array([-t, t]) - skew / 6.0)) - 1.0)
    return float(ends[1]), float(-ends[0])


def heavy(influence: NDArray[np.float64]) -> float | None:
    """Share of a smooth estimator's variance that 1 % of the samples carry, where its interval may be too narrow.

    That is where 1 % carry more than half, or a single sample more than a fifth (docs/precision.md); None elsewhere.
    """
    squares = np.sort(np.square(influence - influence.mean()))[::-1]
    total = float(squares.sum())
    if total <= 0 or len(squares) < FEWEST:
        return None
    share = float(squares[: max(1, round(0.01 * len(squares)))].sum()) / total
    return share if share > HALF or squares[0] > FIFTH * total else None


def first_order(
    metric: str,
    value: float,
    influence: NDArray[np.float64],
    counts: NDArray[np.integer[Any]] | None,
    better: str,
    notes: tuple[str, ...] = (),
    details: dict[str, float] | None = None,
    n: int | None = None,
) -> Measurement:
    """A smooth estimator: linear replicates, and a 95 % interval of exact standard errors, as many as `quantiles` says.

    Without counts it has neither.

    Args:
        influence: (n,) weight derivatives; n is how many samples the value rests on, by default all of these.
    """
    rests_on = len(influence) if n is None else n
    if counts is None:
        return Measurement(metric, float(value), np.nan, np.nan, rests_on, better, None, notes, details or {})
    error, (below, above) = standard_error(influence), quantiles(influence)
    replicates = linear_replicates(value, influence, counts)
    low, high = float(value - below * error), float(value + above * error)
    details = details or {}
    if (share := heavy(influence)) is not None:
        notes = (*notes, f"{metric}: a few samples carry most of its variance, so that its interval may be too narrow")
        details = {**details, "tail_share": share}
    return Measurement(metric, float(value), low, high, rests_on, better, replicates, notes, details)


def of_mean(
    metric: str,
    values: NDArray[np.float64],
    counts: NDArray[np.integer[Any]] | None,
    better: str,
    details: dict[str, float] | None = None,
) -> Measurement:
    """The mean of per-sample `values` (n,)."""
    value = float(values.mean())
    return first_order(metric, value, (values - value) / len(values), counts, better, (), details)


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
