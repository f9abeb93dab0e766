"""Which of many changes are more than chance: a pooled spread of the seeds, and false discoveries held at 5 %.

Two seeds of one family say little about their spread, but dozens of families measured alike say much: the spread of a
change between seeds is pooled over all families of a metric and space (as limma does over genes), and a family's own,
where it is larger, is kept. With one seed everywhere no spread is known, and only sampling noise is left to test by.

Shapes: S seeds, R replicates, K numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from drlbench.frontier.pareto import Floats

FALSE_ALARMS = 0.05


@dataclass(frozen=True)
class Spread:
    """Standard deviation of a change between seeds, as a share of its scale, and its degrees of freedom."""

    sd: float
    freedom: int


def pooled(changes: Iterable[Floats]) -> Spread | None:
    """The spread of changes (S,), each in units of its own scale, over families; None where all have one seed."""
    several = [c for c in changes if len(c) > 1 and np.isfinite(c).all()]
    freedom = sum(len(c) - 1 for c in several)
    if not freedom:
        return None
    return Spread(math.sqrt(sum(float(((c - c.mean()) ** 2).sum()) for c in several) / freedom), freedom)


def p_over_seeds(change: Floats, draws: Floats, spread: Spread) -> float:
    """Two-sided p-value of a mean change (S,) when the seeds are drawn anew: Student t with the pooled spread.

    Args:
        change: (S,) in units of the scale.
        draws: (S, R) its sampling replicates in the same unit; the part of their noise that seeds share is added.
    """
    seeds = len(change)
    own = float(change.std(ddof=1)) if seeds > 1 else 0.0
    variance = max(own, spread.sd) ** 2 / seeds
    if draws.shape[1] > 1:
        mean = draws.mean(axis=0)
        apart = float((draws - mean).var(axis=1).sum()) / max(1, seeds - 1) / seeds
        variance += max(0.0, float(mean.var()) - apart)
    if variance == 0:
        return float(change.mean() == 0)
    return float(2 * special.stdtr(spread.freedom, -abs(float(change.mean())) / math.sqrt(variance)))


def p_over_samples(change: Floats, draws: Floats) -> float:
    """Two-sided p-value with the checkpoints fixed, from the sd of the replicates (S, R); NaN without any."""
    if not len(change) or draws.shape[1] < 2:
        return float("nan")
    sd = float(draws.mean(axis=0).std(ddof=1))
    if sd == 0:
        return float(change.mean() == 0)
    return float(special.erfc(abs(float(change.mean())) / sd / math.sqrt(2)))


def significant(p: Floats) -> NDArray[np.bool_]:
    """Benjamini and Hochberg's step-up at `FALSE_ALARMS` over p-values (K,); NaN never passes."""
    passed = np.zeros(len(p), dtype=bool)
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p[known], kind="stable")]
    below = np.flatnonzero(p[order] <= FALSE_ALARMS * (np.arange(len(order)) + 1) / max(1, len(order)))
    if len(below):
        passed[order[: below[-1] + 1]] = True
    return passed
