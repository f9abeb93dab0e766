"""FD∞: the Fréchet distance at infinitely many generated samples (Chong & Forsyth 2020, arXiv:1911.07023).

FD of n samples is above the true one by about c / n. FD of 15 random parts, of sizes at equal steps from a tenth of the
samples to all of them, is fitted by a line in 1 / n, whose intercept is FD∞. As published but for the seed, which is
fixed; with fewer than 50,000 samples the smallest part is a tenth of them instead of 5,000, and at least 2 D, because
below D the covariance is singular and FD no line in 1 / n. The reference's own finite number is not extrapolated.

Shapes: n generated samples, D dimensions, K = 15 parts.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from drlbench.errors import UserError
from drlbench.metrics.base import Evidence, Measurement, Metric
from drlbench.metrics.bootstrap import counts_or_default, first_order
from drlbench.metrics.frechet import Gaussian, value_and_influence
from drlbench.metrics.inputs import as_features, same_dimension

POINTS = 15
SMALLEST = 30  # samples, so that the parts differ


def part_sizes(n: int, dimension: int) -> NDArray[np.intp]:
    """(K,) sizes of the parts, the last one n."""
    first = max(n // 10, min(2 * dimension, n // 2))
    return np.linspace(first, n, POINTS).astype(np.intp)


def intercept_weights(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """(K,) weights w with w·y the intercept at 0 of the least-squares line through (x, y)."""
    centred = x - x.mean()
    return 1.0 / len(x) - x.mean() * centred / (centred @ centred)


def frechet_infinity(
    a: Any,
    b: Any,
    *,
    counts: NDArray[np.integer[Any]] | None = None,
    resamples: int = 200,
    seed: int = 0,
) -> Measurement:
    """FD∞ of generated features `a` (n, D) to reference `b` (features, moments or a `Gaussian`), float64.

    The interval is of first order in the samples' weights, through every part that a sample is in. details: slope (of
    FD over 1 / n), smallest (part), points, fd (of all samples).

    Raises:
        UserError: malformed features, different dimensions, or fewer than 30 samples.
    """
    x, reference = as_features(a, "a"), Gaussian.of(b, "b")
    n, dimension = x.shape
    same_dimension(dimension, reference.mean.size)
    if n < SMALLEST:
        raise UserError(f"fd-infinity of {n} samples; at least {SMALLEST} are needed")
    sizes = part_sizes(n, dimension)
    inverse = 1.0 / sizes
    weights = intercept_weights(inverse)
    rng = np.random.default_rng(seed)
    distances, influence = np.empty(POINTS), np.zeros(n)
    for k, size in enumerate(sizes):
        part = rng.permutation(n)[:size]
        distances[k], own = value_and_influence(Gaussian.of(x[part]), reference)
        influence[part] += weights[k] * (own - own.mean())
    value = float(weights @ distances)
    details = {
        "slope": float((inverse - inverse.mean()) @ distances / np.square(inverse - inverse.mean()).sum()),
        "smallest": float(sizes[0]),
        "points": float(POINTS),
        "fd": float(distances[-1]),
    }
    thin = f"fd_infinity from parts of {sizes[0]:,} to {n:,} samples for {dimension} dimensions"
    why = f"{thin}: FD is no line in 1 / n there, so the extrapolation does not hold"
    notes = (why,) if sizes[0] <= dimension else ()
    resampling = counts_or_default(counts, n, resamples)
    return first_order("fd_infinity", value, influence, resampling, "lower", notes, details)


class FrechetInfinity(Metric):
    """`fd_infinity` against the training data."""

    needs: ClassVar[Literal["features", "images"]] = "features"

    @classmethod
    def operations(cls, n: int, train: int, heldout: int, width: int, resamples: int) -> float:
        """Moments and singular values of every part, with the influence of its samples."""
        return float(POINTS * (4 * n * width**2 + 30 * width**3) + 2 * n * resamples)

    def measure(self, evidence: Evidence) -> list[Measurement]:
        """fd_infinity."""
        evidence.require("fd-infinity", "features", "reference")
        return [frechet_infinity(evidence.features, evidence.reference, counts=evidence.counts)]
