"""Fronts, hypervolumes and attainment in two objectives.

Everything here works on COSTS: both coordinates are better when lower (`cost` turns a metric into one). What is
defined for awkward input:

- a point with a NaN or infinite coordinate is on no front, dominates nothing and adds no volume;
- ties: identical points are all on the front (neither is better than the other in any objective);
- one point is its own front; a family that another dominates keeps its own front, and none of its points is on
  the joint one;
- a point that does not beat the reference point in both objectives adds no volume; an empty set has volume 0.

Shapes: P points, F families, Q attainment levels; `...` any leading axes (seeds, bootstrap replicates).
"""

from __future__ import annotations

from collections.abc import Sequence

import moocore
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
MARGIN = 0.1


def cost(values: Floats, better: str, reference: float = float("nan")) -> Floats:
    """Turn a metric into a cost of the same shape.

    Args:
        values: (...) metric values.
        better: "lower", "higher" or "closer".
        reference: the value of the real images, needed for "closer" only.

    Returns:
        (...) the value, its negative, or its distance from the reference.

    Raises:
        ValueError: `better` is none of the three.
    """
    if better == "lower":
        return values
    if better == "higher":
        return -values
    if better == "closer":
        return np.abs(values - reference)
    raise ValueError(f"better must be 'lower', 'higher' or 'closer', not {better!r}")


def non_dominated(points: Floats) -> NDArray[np.bool_]:
    """Which of (P, 2) cost points no other point weakly beats in both and strictly in one objective: (P,) bool."""
    front = np.zeros(len(points), dtype=bool)
    finite = np.isfinite(points).all(axis=1)
    if finite.any():
        front[finite] = moocore.is_nondominated(points[finite], keep_weakly=True)
    return front


def reference_point(*families: Floats) -> tuple[Floats, Floats]:
    """The ideal and the reference point that a comparison of families shares.

    The ideal is the best value seen in each objective. The reference is the worst value seen plus 10 % of the range
    (of the magnitude, or of 1 at zero, when all values are equal), so the worst point still adds volume.

    Args:
        families: (P_f, 2) cost points each; non-finite points are left out.

    Returns:
        ideal (2,), reference (2,); both NaN when no finite point is left.
    """
    points = np.concatenate([np.reshape(f, (-1, 2)) for f in families]) if families else np.empty((0, 2))
    points = points[np.isfinite(points).all(axis=1)]
    if not len(points):
        return np.full(2, np.nan), np.full(2, np.nan)
    ideal, worst = points.min(axis=0), points.max(axis=0)
    extent = worst - ideal
    magnitude = np.where(worst != 0, np.abs(worst), 1.0)
    return ideal, worst + MARGIN * np.where(extent > 0, extent, magnitude)


def hypervolume(points: Floats, reference: Floats) -> Floats:
    """The area that cost points dominate, up to a reference point.

    Vectorised over leading axes because a bootstrap asks for thousands of small fronts at once; equal to
    `moocore.hypervolume` (a test compares them on 1,000 random fronts).

    Args:
        points: (..., P, 2) costs.
        reference: (2,) the corner that closes the area.

    Returns:
        (...) areas, 0 where no point beats the reference.
    """
    inside = (points < reference).all(axis=-1)  # (..., P); False for NaN
    inside &= np.isfinite(points).all(axis=-1)
    x = np.where(inside, points[..., 0], reference[0])
    y = np.where(inside, points[..., 1], reference[1])
    order = np.argsort(x, axis=-1)
    x = np.take_along_axis(x, order, axis=-1)
    y = np.minimum.accumulate(np.take_along_axis(y, order, axis=-1), axis=-1)
    last = np.full((*x.shape[:-1], 1), reference[0])
    width = np.diff(np.concatenate([x, last], axis=-1), axis=-1)
    area: Floats = (width * (reference[1] - y)).sum(axis=-1)
    return area


def best_within(points: Floats, levels: Floats) -> Floats:
    """The best second cost among the points whose first cost is at most each level (the step front).

    Args:
        points: (..., P, 2) costs.
        levels: (..., Q) levels of the first cost, broadcast against the points' leading axes.

    Returns:
        (..., Q) best second cost, +inf where no point reaches the level.
    """
    finite = np.isfinite(points).all(axis=-1)
    x = np.where(finite, points[..., 0], np.inf)[..., None, :]  # (..., 1, P)
    y = np.where(finite, points[..., 1], np.inf)[..., None, :]
    reached: Floats = np.where(x <= levels[..., None], y, np.inf).min(axis=-1)
    return reached


def attainment(fronts: Sequence[Floats], percentiles: Sequence[float] = (0.0, 50.0, 100.0)) -> dict[float, Floats]:
    """Surfaces that a share of the seeds attains (the empirical attainment function, by moocore).

    Args:
        fronts: one (P_s, 2) array of costs per seed; non-finite points are left out, empty seeds too.
        percentiles: in [0, 100]; 0 is what at least one seed attains, 100 what every seed attains.

    Returns:
        {percentile: (K, 2) corner points sorted by the first cost}, empty arrays without any point.
    """
    kept = [f[np.isfinite(f).all(axis=1)] for f in fronts]
    kept = [f for f in kept if len(f)]
    if not kept:
        return {q: np.empty((0, 2)) for q in percentiles}
    sets = np.repeat(np.arange(len(kept)), [len(f) for f in kept])
    surfaces = moocore.eaf(np.concatenate(kept), sets, percentiles=list(percentiles))
    found = {}
    for q in percentiles:
        corners = surfaces[surfaces[:, -1] == q][:, :2]
        found[q] = corners[np.argsort(corners[:, 0], kind="stable")]
    return found
