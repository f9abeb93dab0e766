"""Neighbour measures on parts of the generated samples: the replicates of recall and coverage, and their intervals.

Shapes: n generated, m reference samples, R resamples, T = 32 servers kept per reference point.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drlbench.metrics.base import Measurement
from drlbench.metrics.bootstrap import NORMAL
from drlbench.metrics.neighbours import Index

Array = NDArray[np.float64]
Counts = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Table:
    """For each reference point, up to T generated samples that serve it; −1 fills the rest."""

    servers: NDArray[np.int64]  # (m, T)

    @property
    def share(self) -> float:
        """Share of points with a server."""
        return float((self.servers[:, 0] >= 0).mean()) if len(self.servers) else 0.0

    def shares(self, drawn: NDArray[np.bool_]) -> Array:
        """(R,) share of points with a server among the samples that are drawn (R, n)."""
        return self.hits(drawn).mean(1)

    def hits(self, drawn: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """(R, m) whether a server of the point is drawn (R, n)."""
        present = np.zeros((len(drawn), drawn.shape[1] + 1), dtype=bool)  # the last column answers for −1
        present[:, :-1] = drawn
        hits = present[:, self.servers[:, 0]]
        for column in self.servers.T[1:]:
            rows = np.flatnonzero(column >= 0)
            if not len(rows):
                break
            hits[:, rows] |= present[:, column[rows]]
        return hits


@dataclass(frozen=True)
class Balls:
    """What recall needs of every part of the samples: who lies near whom.

    Attributes:
        neighbours, distances: (n, A) nearest other generated samples, in order, and their squared distances.
        row, column, reach: (p,) pairs of a reference point and a generated sample, by reference point, and their
            squared distance; all pairs that any part can bring together.
        points: number of reference points.
        k: which neighbour a ball reaches to.
        strict: whether a point on the edge is outside.
    """

    neighbours: Index
    distances: Array
    row: Index
    column: Index
    reach: Array
    points: int
    k: int
    strict: bool

    def shares(self, drawn: NDArray[np.bool_]) -> Array:
        """(R,) recall of the samples that are drawn (R, n)."""
        found = np.empty(len(drawn))
        for r, own in enumerate(drawn):
            here = own[self.neighbours]  # (n, A)
            rank = here.cumsum(1)
            place = (rank >= self.k).argmax(1)
            place[rank[:, -1] < self.k] = here.shape[1] - 1
            radius = self.distances[np.arange(len(place)), place]
            edge = radius[self.column]
            inside = own[self.column] & (self.reach < edge if self.strict else self.reach <= edge)
            hit = np.zeros(self.points, dtype=bool)
            hit[self.row[inside]] = True
            found[r] = hit.mean()
        return found


def most_drawn(counts: Counts, share: float) -> NDArray[np.bool_]:
    """(R, n) the share of the samples that each resample draws most often, ties by lot."""
    chosen = np.zeros(counts.shape, dtype=bool)
    many = int(counts.shape[1] * share)
    for r, row in enumerate(counts):
        order = np.random.default_rng(r).permutation(len(row))
        chosen[r, order[np.argsort(-row[order].astype(np.int64), kind="stable")[:many]]] = True
    return chosen


def halves_apart(shares: Callable[[NDArray[np.bool_]], Array], counts: Counts | None) -> Array | None:
    """(R,) half the difference of complementary halves: to first order what the whole deviates by."""
    if counts is None:
        return None
    half = most_drawn(counts, 0.5)
    return (shares(half) - shares(~half)) / 2.0


def about(metric: str, value: float, deviations: Array | None, n: int) -> Measurement:
    """A share with replicates that deviate from it by so much (R,), and 1.96 standard deviations of them about it."""
    if deviations is None:
        return Measurement(metric, value, float("nan"), float("nan"), n, "higher")
    half = NORMAL * float(np.sqrt(np.square(deviations).mean()))
    low, high = max(value - half, 0.0), min(value + half, 1.0)
    return Measurement(metric, value, low, high, n, "higher", np.clip(value + deviations, 0.0, 1.0))
