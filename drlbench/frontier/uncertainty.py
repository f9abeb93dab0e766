"""How sure a frontier is: intervals for hypervolumes, and the probability that one family's front beats another's.

Two things move a number. SAMPLING: the same checkpoints drawn again with other noise; the paired bootstrap
replicates of a run measure it (replicate r uses the same sample indices in every cell). TRAINING: the same recipe
with another RL seed. `Estimate` keeps them apart: `low, high` holds the checkpoints fixed, `seed_low, seed_high`
speaks about the recipe and contains both.

With S seeds of spread s, the recipe's mean deviates by s/sqrt(S) times a Student t with S - 1 degrees of freedom.
Sampling noise that differs between seeds is already part of s; only the part the seeds share is added on top. With
one seed nothing is known about training, and the seed interval is NaN.

Shapes: S RL seeds, R replicates, P points of a family (one per lambda), Q levels.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from scipy import special

from drlbench.frontier.pareto import Floats, best_within, hypervolume
from drlbench.metrics.bootstrap import LEVEL, NORMAL, wilson

NORMAL_95 = NORMAL  # half a 95 % interval in standard deviations
_TAILS = (0.5 * (1 - LEVEL), 0.5 * (1 + LEVEL))
RNG_SEED = 20260619  # a report's only randomness: reports repeat byte for byte


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with both intervals (NaN where they cannot be known)."""

    value: float
    low: float
    high: float
    seed_low: float
    seed_high: float
    n_seeds: int

    def map(self, function: np.ufunc) -> Estimate:
        """The estimate under an increasing function, ends and value alike."""
        value, low, high = function(self.value), function(self.low), function(self.high)
        return Estimate(
            float(value),
            float(low),
            float(high),
            float(function(self.seed_low)),
            float(function(self.seed_high)),
            self.n_seeds,
        )


def _unknown(n_seeds: int, value: float = float("nan")) -> Estimate:
    nan = float("nan")
    return Estimate(value, nan, nan, nan, nan, n_seeds)


@dataclass(frozen=True)
class Dominance:
    """Whether family A beats family B.

    Attributes:
        criterion: "hypervolume" (A's share of the box is larger) or "attainment" (A reaches at least B's second
            objective at every level of the first that both fronts cover).
        probability: share of sampling replicates in which it holds, checkpoints fixed.
        probability_low, probability_high: 95 % Wilson interval of that share (it counts replicates, nothing else).
        probability_seeds: the same when the RL seed is drawn anew too; NaN with one seed.
        holds: whether it holds for the numbers as measured (mean over seeds); None when the fronts share no level.
        difference: A minus B: hypervolume share, or the worst gap in the second objective over the shared levels.
        n_replicates: replicates the probability was counted on (those with shared levels).
    """

    criterion: str
    probability: float
    probability_low: float
    probability_high: float
    probability_seeds: float
    holds: bool | None
    difference: Estimate
    n_replicates: int

    def to_json(self) -> dict[str, object]:
        """Plain values, NaN as None."""
        return {k: _plain(v) for k, v in asdict(self).items()}


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return None if isinstance(value, float) and not np.isfinite(value) else value


def recentre(values: Floats, replicates: Floats) -> Floats:
    """Shift replicates (..., R) so that their mean is the measured value (...).

    A resample repeats samples, which biases a Frechet distance upwards once more; the reported value does not carry
    that second bias, so neither may its replicates.
    """
    return replicates + (values - replicates.mean(axis=-1))[..., None]


def recipe_draws(values: Floats, replicates: Floats) -> Floats:
    """Draws (..., R) of a mean over seeds when both the RL seed and the samples are drawn anew; NaN with one seed.

    Args:
        values: (..., S) measured values.
        replicates: (..., S, R) centred replicates.
    """
    seeds, count = replicates.shape[-2:]
    if seeds < 2:
        return np.full((*replicates.shape[:-2], count), np.nan)
    mean = replicates.mean(axis=-2)  # (..., R)
    # Already inside the spread of the seeds:
    own = (replicates - mean[..., None, :]).var(axis=-1).sum(axis=-1) / (seeds - 1) / seeds
    total = mean.var(axis=-1)
    shared = np.sqrt(np.maximum(0.0, 1 - np.divide(own, total, where=total > 0, out=np.ones_like(total))))
    scale = values.std(axis=-1, ddof=1) / np.sqrt(seeds)
    # Indexed by [..., None]: one number per mean, spread over its draws.
    centre, around = values.mean(axis=-1)[..., None], mean - mean.mean(axis=-1)[..., None]
    draws: Floats = centre + shared[..., None] * around + scale[..., None] * _student(seeds, count)
    return draws


@lru_cache
def _student(seeds: int, count: int) -> Floats:
    """Stratified quantiles (count,) of Student's t in a fixed random order: the tails do not depend on luck."""
    order = np.random.default_rng(RNG_SEED).permutation(count)
    quantiles: Floats = special.stdtrit(seeds - 1, (order + 0.5) / count)
    return quantiles


def _tails(draws: Floats) -> tuple[Floats, Floats]:
    """Both ends (...) of the 95 % percentile interval of draws (..., R)."""
    ordered = np.sort(draws, axis=-1)
    ends = []
    for share in _TAILS:
        below, part = divmod(share * (draws.shape[-1] - 1), 1)
        low, high = ordered[..., int(below)], ordered[..., min(int(below) + 1, draws.shape[-1] - 1)]
        ends.append(low + (high - low) * part)
    return ends[0], ends[1]


def estimates(values: Floats, replicates: Floats) -> list[Estimate]:
    """Means over seeds, each with its sampling interval and its recipe interval: percentile intervals at 95 %.

    Args:
        values: (K, S) one measured value per number and RL seed.
        replicates: (K, S, R) paired bootstrap replicates; R = 0 where none were kept.

    Returns:
        K estimates; NaN ends where replicates are missing or not finite, and a NaN value where a seed's value is not
        finite.
    """
    count, n_seeds = values.shape
    means = values.mean(axis=1) if n_seeds else np.full(count, np.nan)
    ends = np.full((count, 4), np.nan)  # low, high, seed_low, seed_high
    known = np.isfinite(means) & np.isfinite(replicates).all(axis=(1, 2)) & (replicates.size > 0)
    if known.any():
        centred = recentre(values[known], replicates[known])
        ends[known, :2] = np.stack(_tails(centred.mean(axis=1)), axis=1)
        if n_seeds > 1:
            ends[known, 2:] = np.stack(_tails(recipe_draws(values[known], centred)), axis=1)
    numbers = np.column_stack([means, ends]).tolist()
    return [Estimate(v, low, high, seed_low, seed_high, n_seeds) for v, low, high, seed_low, seed_high in numbers]


def estimate(values: Floats, replicates: Floats) -> Estimate:
    """`estimates` of one number: values (S,), replicates (S, R)."""
    return estimates(values[None], replicates[None])[0]


def volume_share(points: Floats, ideal: Floats, reference: Floats) -> Floats:
    """Hypervolume of (..., P, 2) costs as a share (...) of the box between the ideal and the reference point."""
    return hypervolume(points, reference) / float(np.prod(reference - ideal))


def hypervolume_estimate(points: Floats, replicates: Floats, ideal: Floats, reference: Floats) -> Estimate:
    """The share of the box a family dominates, mean over seeds.

    Args:
        points: (S, P, 2) measured costs.
        replicates: (S, R, P, 2) paired replicates of them, centred by `recentre`.
        ideal, reference: (2,) the box, shared by all families that are compared.
    """
    return estimate(volume_share(points, ideal, reference), volume_share(replicates, ideal, reference))


def _dominance(criterion: str, values: Floats, replicates: Floats, tie: bool) -> Dominance:
    """Build the record from per-seed differences (S,) and their replicates (S, R); `tie` says whether 0 is a win."""

    def wins(x: Any) -> Any:
        return (x >= 0) if tie else (x > 0)

    counted = np.isfinite(replicates).all(axis=0)
    kept = replicates[:, counted]
    n = int(counted.sum())
    known = bool(len(values)) and bool(np.isfinite(values).all())
    difference = estimate(values, kept) if known else _unknown(len(values))
    won = int(wins(kept.mean(axis=0)).sum()) if n and known else 0
    again = recipe_draws(values, recentre(values, kept)) if n and known else np.full(1, np.nan)
    return Dominance(
        criterion=criterion,
        probability=won / n if n and known else float("nan"),
        probability_low=wilson(won, n if known else 0)[0],
        probability_high=wilson(won, n if known else 0)[1],
        probability_seeds=float(wins(again).mean()) if np.isfinite(again).all() else float("nan"),
        holds=bool(wins(values.mean())) if known else None,
        difference=difference,
        n_replicates=n,
    )


def hypervolume_dominance(
    a: Floats, b: Floats, a_reps: Floats, b_reps: Floats, ideal: Floats, reference: Floats
) -> Dominance:
    """Probability that A's hypervolume exceeds B's; shapes as in `hypervolume_estimate`, seeds paired by position."""
    values = volume_share(a, ideal, reference) - volume_share(b, ideal, reference)
    replicates = volume_share(a_reps, ideal, reference) - volume_share(b_reps, ideal, reference)
    return _dominance("hypervolume", values, recentre(values, replicates), tie=False)


def worst_gap(a: Floats, b: Floats) -> Floats:
    """By how much A's step front is ahead of B's in the second objective, at the level where it is least ahead.

    The levels run over every step of either front from where both have begun to where the first of them ends.
    A positive gap means A is ahead at every shared level.

    Args:
        a, b: (..., P, 2) costs.

    Returns:
        (...) the least lead, NaN where the fronts share no level.
    """
    ends = []
    for points in (a, b):
        best = best_within(points, points[..., 0])  # a point is on the front when nothing at its level beats it
        on_front = (points[..., 1] <= best) & np.isfinite(points).all(axis=-1)
        x = points[..., 0]
        ends.append((np.where(on_front, x, np.inf).min(axis=-1), np.where(on_front, x, -np.inf).max(axis=-1)))
    begin, end = np.maximum(ends[0][0], ends[1][0]), np.minimum(ends[0][1], ends[1][1])  # (...)
    levels = np.concatenate([a[..., 0], b[..., 0], begin[..., None], end[..., None]], axis=-1)  # (..., Q)
    inside = (levels >= begin[..., None]) & (levels <= end[..., None])
    with np.errstate(invalid="ignore"):
        lead = best_within(b, levels) - best_within(a, levels)
    lead = np.where(inside, lead, np.inf).min(axis=-1)
    gap: Floats = np.where(begin <= end, lead, np.nan)
    return gap


def attainment_dominance(a: Floats, b: Floats, a_reps: Floats, b_reps: Floats) -> Dominance:
    """Probability that A attains at least B's second objective at every level of the first that both cover."""
    return _dominance("attainment", worst_gap(a, b), worst_gap(a_reps, b_reps), tie=True)
