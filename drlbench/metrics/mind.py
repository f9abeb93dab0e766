"""MIND, the Monge inception distance: sliced Wasserstein on FID's scale (Berthet et al. 2026, arXiv:2605.06797).

MIND = 3 D mean over random unit directions u of the mean over i of (x_u(i) − y_u(i))², with x_u(1) ≤ x_u(2) ≤ ... the
features' coordinates along u in order: squared 2-Wasserstein distances in one dimension, by sorting. Both sets have the
same number of samples; of the larger one as many are drawn as the smaller one has. No covariance is estimated, so few
samples do; the value still depends on how many, which is why n stands beside it.

The interval is of first order: a sample's weight moves the distance along u by its Kantorovich potential, whose slope
is 2 (x − T(x)) with T the map that sorting gives.

Shapes: n samples of each set, D dimensions, M directions.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from drlbench.errors import UserError
from drlbench.metrics.base import Evidence, Measurement, Metric
from drlbench.metrics.bootstrap import counts_or_default, first_order
from drlbench.metrics.inputs import as_features, same_dimension

DIRECTIONS = 1000
BLOCK = 1 << 22  # coordinates held at once


def mind(
    a: Any,
    b: Any,
    *,
    directions: int = DIRECTIONS,
    seed: int = 0,
    counts: NDArray[np.integer[Any]] | None = None,
    resamples: int = 200,
) -> Measurement:
    """MIND of generated features `a` (n, D) to reference features `b` (m, D), float64.

    Args:
        directions: M; the paper takes 100 to 1,000.
        seed: of the directions, and of the samples drawn where the sets differ in number.
        counts, resamples: as for `frechet_distance`.

    Returns:
        A Measurement with n the smaller number of samples; details: directions, standard_error of the mean over
        directions, which the interval does not contain.

    Raises:
        UserError: malformed features, different dimensions, or no direction.
    """
    x, y = as_features(a, "a"), as_features(b, "b")
    same_dimension(x.shape[1], y.shape[1])
    if directions < 1:
        raise UserError(f"mind along {directions} directions; at least 1 is needed")
    dimension, n, given = x.shape[1], min(len(x), len(y)), len(x)
    rng = np.random.default_rng(seed)
    own = np.sort(rng.permutation(len(x))[:n])
    x, y = x[own], y[np.sort(rng.permutation(len(y))[:n])]
    along = rng.normal(size=(directions, dimension))
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    distances, potential = np.empty(directions), np.zeros(n)
    step = max(BLOCK // n, 1)
    for start in range(0, directions, step):
        u = along[start : start + step]
        distances[start : start + step], moved = _sliced(x @ u.T, y @ u.T)
        potential += moved
    scale = 3.0 * dimension
    influence = np.zeros(given)
    influence[own] = scale * (potential - potential.mean()) / (directions * n)
    error = float(scale * distances.std() / np.sqrt(directions))
    notes = (f"mind of {n:,} samples of each set: the smaller set has no more",) if len(a) != len(b) else ()
    resampling = counts_or_default(counts, given, resamples)
    details = {"directions": float(directions), "standard_error": error}
    return first_order("mind", scale * float(distances.mean()), influence, resampling, "lower", notes, details, n=n)


def _sliced(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Squared distances (M,) along coordinates (n, M) of both sets, and the sum (n,) of the samples' potentials."""
    order = x.argsort(0)
    x, y = np.take_along_axis(x, order, 0), np.sort(y, axis=0)
    gap = x - y
    rise = np.diff(x, axis=0) * (gap[1:] + gap[:-1])  # of the potential between neighbours
    potential = np.empty_like(gap)
    potential[0] = 0.0
    np.cumsum(rise, axis=0, out=potential[1:])
    potential -= potential.mean(0)
    moved = np.bincount(order.ravel(), potential.ravel(), minlength=len(x)).astype(np.float64)
    return np.square(gap).mean(0), moved


class MIND(Metric):
    """`mind` against held-out data."""

    needs: ClassVar[Literal["features", "images"]] = "features"

    @classmethod
    def operations(cls, n: int, train: int, heldout: int, width: int, resamples: int) -> float:
        """Coordinates along every direction, and their order."""
        few = min(n, heldout)
        return float(DIRECTIONS * few * (4 * width + 100) + 2 * n * resamples)

    def measure(self, evidence: Evidence) -> list[Measurement]:
        """mind."""
        evidence.require("mind", "features", "reference_val")
        return [mind(evidence.features, evidence.reference_val, counts=evidence.counts)]
