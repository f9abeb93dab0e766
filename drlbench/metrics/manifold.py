"""Precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020), Euclidean, float64.

A set's manifold is the union of balls around its points reaching their k-th nearest neighbour (itself excluded).
    precision = share of generated points inside any reference ball;  recall = share of reference points inside any
    generated ball;  density = mean number of reference balls around a generated point, over k;  coverage = share of
    reference balls that hold a generated point.

Precision and density are means over generated samples and are resampled as such. Recall depends on who a sample's
neighbours are, and a resample with repetitions would lay samples on top of each other: its replicates are measured on
random halves of the generated samples, with every ball's radius taken anew within the half (the delete-half jackknife,
whose spread is that of the full set to first order). Neighbours are looked up among the nearest 8 k in the full set;
fewer than k = 3 of 24 are in a half with probability 2e-5. Coverage asks whether any sample that serves a reference
point was drawn. Replicates of both are shifted to be centred on the estimate: the interval describes spread, not the
bias of fewer samples. A table keeps at most 32 servers of a point; that all are missing has probability e⁻³².
The half of replicate r is that of the samples that resample r draws most often, so that cells stay paired.

Shapes: n generated, m reference samples, R resamples, T = 32 servers kept per reference point.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from drlbench.errors import UserError, did_you_mean
from drlbench.metrics.base import Evidence, Measurement, Metric
from drlbench.metrics.bootstrap import counts_or_default, mean_replicates, measurement
from drlbench.metrics.inputs import check_features, same_dimension
from drlbench.metrics.neighbours import Index, Points, blocks, nearest, pair_distances, pairs_within, radii

Array = NDArray[np.float64]
Features = NDArray[np.floating[Any]]
Counts = NDArray[np.integer[Any]]

SERVERS = 32
AROUND = 8  # times k: neighbours of a generated sample that halves are looked up in
CONVENTIONS = {"clovaai": True, "torch-fidelity": False, "adm": False}  # True: strictly inside the ball


class PrecisionRecall(NamedTuple):
    """Two measurements of one pair of sets."""

    precision: Measurement
    recall: Measurement


class DensityCoverage(NamedTuple):
    """Two measurements of one pair of sets."""

    density: Measurement
    coverage: Measurement


@dataclass(frozen=True)
class Table:
    """For each reference point, up to T generated samples that serve it; −1 fills the rest."""

    servers: NDArray[np.int64]  # (m, T)

    def share(self, counts: Counts | None) -> tuple[float, Array | None]:
        """Share of points with a server, and its centred replicates."""
        value = float((self.servers[:, 0] >= 0).mean()) if len(self.servers) else 0.0
        if counts is None:
            return value, None
        return value, np.clip(value + _centred(self.hits(counts).mean(1)), 0.0, 1.0)

    def hits(self, counts: Counts) -> NDArray[np.bool_]:
        """(R, m) whether a server of the point occurs in the resample."""
        present = np.zeros((len(counts), counts.shape[1] + 1), dtype=bool)  # the last column answers for −1
        present[:, :-1] = counts > 0
        hits = present[:, self.servers[:, 0]]
        for column in self.servers.T[1:]:
            rows = np.flatnonzero(column >= 0)
            if not len(rows):
                break
            hits[:, rows] |= present[:, column[rows]]
        return hits


@dataclass(frozen=True)
class Balls:
    """What recall needs of every half: who lies near whom.

    Attributes:
        neighbours, distances: (n, A) nearest other generated samples, in order, and their squared distances.
        row, column, reach: (p,) pairs of a reference point and a generated sample, by reference point, and their
            squared distance; all pairs that any half can bring together.
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

    def replicates(self, value: float, counts: Counts) -> Array:
        """(R,) recall of halves, centred on `value`."""
        found = np.empty(len(counts))
        for r, own in enumerate(halves(counts)):
            here = own[self.neighbours]  # (n, A)
            rank = here.cumsum(1)
            place = (rank >= self.k).argmax(1)
            place[rank[:, -1] < self.k] = here.shape[1] - 1
            radius = self.distances[np.arange(len(place)), place]
            edge = radius[self.column]
            inside = own[self.column] & (self.reach < edge if self.strict else self.reach <= edge)
            found[r] = len(np.unique(self.row[inside])) / self.points
        return np.clip(value + _centred(found), 0.0, 1.0)


def halves(counts: Counts) -> Iterator[NDArray[np.bool_]]:
    """For every resample (n,) the half of the samples that it draws most often, ties by lot."""
    for r, row in enumerate(counts):
        order = np.random.default_rng(r).permutation(len(row))
        chosen = np.zeros(len(row), dtype=bool)
        chosen[order[np.argsort(-row[order].astype(np.int64), kind="stable")[: len(row) // 2]]] = True
        yield chosen


@dataclass(frozen=True)
class Neighbourhoods:
    """Everything the four numbers need, from one pass over the pairs."""

    precise: Array  # (n,) 1 where a generated sample is inside a reference ball of the precision k
    balls: Array  # (n,) number of reference balls of the density k around a generated sample
    recall: Table
    coverage: Table
    balls_of_halves: Balls


def _centred(values: Array) -> Array:
    return values - values.mean()


def _first_servers(row: Index, column: Index, points: int) -> NDArray[np.int64]:
    """The first T columns of every row of pairs in row order, −1 where there are fewer."""
    place = np.arange(len(row)) - np.searchsorted(row, row)
    kept = place < SERVERS
    servers = np.full((points, SERVERS), -1, dtype=np.int64)
    servers[row[kept], place[kept]] = column[kept]
    return servers


def neighbourhoods(
    generated: Features, reference: Features, k_precision: int, k_density: int, strict: bool
) -> Neighbourhoods:
    """One pass over all pairs; 8 MiB blocks, nothing n × n."""
    k = max(k_precision, k_density)
    for name, array in (("generated set", generated), ("reference", reference)):
        if len(array) <= k:
            raise UserError(f"the {name} has {len(array)} samples; k = {k} neighbours need at least {k + 1}")
    centre = reference.mean(0, dtype=np.float64)
    x, y = Points(generated, centre), Points(reference, centre)
    ks = (k_precision, k_density)
    y_radii = radii(y, ks)  # (2, m)
    around = min(AROUND * k_precision, len(x) - 1)
    near, near2 = nearest(x, around)
    x_radii = near2[:, k_precision - 1]  # (n,)
    precise = np.zeros(len(x), dtype=bool)
    balls = np.zeros(len(x))
    recall, coverage, wide = [], [], []
    for rows, d2, bound in blocks(y, x):
        dense = pairs_within(y, x, rows, d2, bound, y_radii[1, rows, None], strict)
        balls += np.bincount(dense[1], minlength=len(x))
        coverage.append(_first_servers(*dense, len(d2)))
        if k_precision != k_density:
            dense = pairs_within(y, x, rows, d2, bound, y_radii[0, rows, None], strict)
        precise[dense[1]] = True
        recall.append(_first_servers(*pairs_within(y, x, rows, d2, bound, x_radii[None], strict), len(d2)))
        row, column = pairs_within(y, x, rows, d2, bound, near2[:, -1][None], strict)
        wide.append((row + rows.start, column))
    row, column = (np.concatenate(part) for part in zip(*wide, strict=True))
    kept = Balls(near, near2, row, column, pair_distances(y, x, row, column), len(y), k_precision, strict)
    return Neighbourhoods(
        precise.astype(np.float64), balls, Table(np.concatenate(recall)), Table(np.concatenate(coverage)), kept
    )


def _prepare(a: Any, b: Any, convention: str) -> tuple[Features, Features, bool]:
    if convention not in CONVENTIONS:
        raise UserError(
            f"unknown convention '{convention}'{did_you_mean(convention, CONVENTIONS)}; valid: {', '.join(CONVENTIONS)}"
        )
    x, y = check_features(a, "a"), check_features(b, "b")
    same_dimension(x.shape[1], y.shape[1])
    return x, y, CONVENTIONS[convention]


def _mean_measurement(metric: str, values: Array, counts: Counts | None) -> Measurement:
    replicates = None if counts is None else mean_replicates(values, counts)
    return measurement(metric, float(values.mean()), len(values), "higher", replicates)


def _share_measurement(metric: str, table: Table, n: int, counts: Counts | None) -> Measurement:
    value, replicates = table.share(counts)
    return measurement(metric, value, n, "higher", replicates)


def _recall(found: Neighbourhoods, n: int, counts: Counts | None) -> Measurement:
    value, _ = found.recall.share(None)
    replicates = None if counts is None else found.balls_of_halves.replicates(value, counts)
    return measurement("recall", value, n, "higher", replicates)


def precision_recall(
    a: Any,
    b: Any,
    *,
    k: int = 3,
    convention: str = "clovaai",
    counts: Counts | None = None,
    resamples: int = 200,
) -> PrecisionRecall:
    """Precision and recall of generated `a` (n, D) against reference `b` (m, D).

    `convention` "clovaai" counts points strictly inside a ball; "torch-fidelity" and "adm" also those on its edge.
    `counts` and `resamples` as for `frechet_distance`.

    Raises:
        UserError: malformed features, different dimensions, k or fewer samples, unknown convention.
    """
    x, y, strict = _prepare(a, b, convention)
    found = neighbourhoods(x, y, k, k, strict)
    resampling = counts_or_default(counts, len(x), resamples)
    return PrecisionRecall(
        _mean_measurement("precision", found.precise, resampling),
        _recall(found, len(x), resampling),
    )


def density_coverage(
    a: Any,
    b: Any,
    *,
    k: int = 5,
    convention: str = "clovaai",
    counts: Counts | None = None,
    resamples: int = 200,
) -> DensityCoverage:
    """Density and coverage of generated `a` (n, D) against reference `b` (m, D); arguments as `precision_recall`."""
    x, y, strict = _prepare(a, b, convention)
    found = neighbourhoods(x, y, k, k, strict)
    resampling = counts_or_default(counts, len(x), resamples)
    return DensityCoverage(
        _mean_measurement("density", found.balls / k, resampling),
        _share_measurement("coverage", found.coverage, len(x), resampling),
    )


def class_coverage(
    a: Any,
    labels: NDArray[np.integer[Any]],
    b: Any,
    reference_labels: NDArray[np.integer[Any]],
    *,
    k: int = 5,
    counts: Counts | None = None,
    resamples: int = 200,
) -> Measurement:
    """Coverage inside each class, averaged over the classes of the reference: a model that swaps classes loses here.

    A class the generator left out counts 0. A class of k or fewer reference samples uses the farthest neighbour it
    has. Arguments as `density_coverage`.

    Raises:
        UserError: malformed features, labels that do not fit, or a class with a single reference sample.
    """
    x, y, strict = _prepare(a, b, "clovaai")
    labels, reference_labels = np.asarray(labels), np.asarray(reference_labels)
    if labels.shape != (len(x),) or reference_labels.shape != (len(y),):
        raise UserError(f"labels {labels.shape}, {reference_labels.shape} do not fit {len(x)} and {len(y)} samples")
    resampling = counts_or_default(counts, len(x), resamples)
    values, replicates = [], []
    classes = np.unique(reference_labels)
    for c in classes:
        own, real = np.flatnonzero(labels == c), y[reference_labels == c]
        if len(real) < 2:
            raise UserError(f"class {c} has {len(real)} reference sample; class coverage needs at least 2")
        centre = real.mean(0, dtype=np.float64)
        points, fakes = Points(real, centre), Points(x[own], centre)
        servers = np.full((len(real), SERVERS), -1, dtype=np.int64)
        if len(own):
            r2 = radii(points, (min(k, len(real) - 1),))[0]
            for rows, d2, bound in blocks(points, fakes):
                pairs = pairs_within(points, fakes, rows, d2, bound, r2[rows, None], strict)
                local = _first_servers(*pairs, len(d2))
                servers[rows] = np.where(local >= 0, own[local], -1)
        table = Table(servers)
        values.append(float((servers[:, 0] >= 0).mean()))
        if resampling is not None:
            replicates.append(table.hits(resampling).mean(1))
    value = float(np.mean(values))
    centred = np.clip(value + _centred(np.mean(replicates, axis=0)), 0.0, 1.0) if replicates else None
    return measurement("class_coverage", value, len(x), "higher", centred, (), {"classes": float(len(classes))})


class PRDC(Metric):
    """Precision and recall (k = 3), density and coverage (k = 5), against held-out data, from one pass."""

    needs: ClassVar[Literal["features", "images"]] = "features"

    @classmethod
    def operations(cls, n: int, train: int, heldout: int, width: int, resamples: int) -> float:
        """Distances between all pairs, twice over, and the shares in every resample."""
        return float(2 * (2 * width + 10) * (heldout**2 + n * heldout + n**2) + 20 * n * resamples)

    def measure(self, evidence: Evidence) -> list[Measurement]:
        """precision, recall, density, coverage, and class_coverage when labels of both sets are known."""
        evidence.require("prdc", "features", "reference_val")
        x, y, strict = _prepare(evidence.features, evidence.reference_val, "clovaai")
        found = neighbourhoods(x, y, 3, 5, strict)
        counts = counts_or_default(evidence.counts, len(x), 0)
        results = [
            _mean_measurement("precision", found.precise, counts),
            _recall(found, len(x), counts),
            _mean_measurement("density", found.balls / 5, counts),
            _share_measurement("coverage", found.coverage, len(x), counts),
        ]
        real = evidence.reference_val_labels
        if evidence.labels is None or real is None:
            return results
        classes, sizes = np.unique(real, return_counts=True)
        if sizes.min() < 2:
            left_out = (
                f"class_coverage is left out: class {classes[sizes.argmin()]} has 1 reference sample, 2 are needed"
            )
            return [*results[:-1], replace(results[-1], notes=(left_out,))]
        return [*results, class_coverage(x, evidence.labels, y, real, counts=counts)]
