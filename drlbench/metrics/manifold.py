"""Precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020), Euclidean, float64.

A set's manifold is the union of balls around its points reaching their k-th nearest neighbour (itself excluded).
    precision = share of generated points inside any reference ball;  recall = share of reference points inside any
    generated ball;  density = mean number of reference balls around a generated point, over k;  coverage = share of
    reference balls that hold a generated point.

Precision is a share of independent samples and has Wilson's interval; density is a mean. Recall depends on who a
sample's neighbours are, and a resample with repetitions would lay samples on top of each other: its replicates are
measured on random parts of three fifths of the generated samples, with every ball's radius taken anew (the delete-d
jackknife, Shao & Wu 1989; with halves it is a little narrow, with four fifths wide). Neighbours are looked up among the
nearest 8 k in the full set. Coverage asks whether any sample that serves a reference point was drawn, and most points
have several, which a bootstrap of that gets wrong either way. Its replicates are half the difference of complementary
halves, which are independent of each other. The intervals of recall and coverage are 1.96 standard deviations of their
replicates: spread, not the bias of fewer samples. A table keeps at most 32 servers of a point; that all are on one side
has probability 2e-10. The parts of replicate r are made by how often resample r draws a sample, so cells stay paired.

Shapes: n generated, m reference samples, R resamples, T = 32 servers kept per reference point.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from drlbench.errors import UserError, did_you_mean
from drlbench.metrics.base import Evidence, Measurement, Metric
from drlbench.metrics.bootstrap import counts_or_default, of_mean, wilson
from drlbench.metrics.inputs import check_features, same_dimension
from drlbench.metrics.neighbours import Index, Points, blocks, nearest, pair_distances, pairs_within, radii
from drlbench.metrics.parts import Balls, Table, about, halves_apart, most_drawn

Array = NDArray[np.float64]
Features = NDArray[np.floating[Any]]
Counts = NDArray[np.integer[Any]]

SERVERS = 32
AROUND = 8  # times k: neighbours of a generated sample that its part's are looked up among
PART = 0.6  # of the samples, on which recall is measured anew
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
class Neighbourhoods:
    """Everything the four numbers need, from one pass over the pairs."""

    precise: Array  # (n,) 1 where a generated sample is inside a reference ball of the precision k
    balls: Array  # (n,) number of reference balls of the density k around a generated sample
    recall: Table
    coverage: Table
    parts: Balls


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


def _precision(precise: Array, counts: Counts | None) -> Measurement:
    """A share of independent samples, with Wilson's interval."""
    found = of_mean("precision", precise, counts, "higher")
    if counts is None:
        return found
    low, high = wilson(int(precise.sum()), len(precise))
    return replace(found, low=low, high=high)


def _recall(found: Neighbourhoods, n: int, counts: Counts | None) -> Measurement:
    if counts is None:
        return about("recall", found.recall.share, None, n)
    shares = found.parts.shares(most_drawn(counts, PART))
    many = int(n * PART)  # the variance of a part about the whole goes with 1/many - 1/n, that of the whole with 1/n
    return about("recall", found.recall.share, (shares - shares.mean()) * np.sqrt(many / (n - many)), n)


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
        _precision(found.precise, resampling),
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
        of_mean("density", found.balls / k, resampling, "higher"),
        about("coverage", found.coverage.share, halves_apart(found.coverage.shares, resampling), len(x)),
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
    tables = []
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
        tables.append(Table(servers))
    deviations = halves_apart(lambda drawn: np.mean([table.shares(drawn) for table in tables], axis=0), resampling)
    found = about("class_coverage", float(np.mean([table.share for table in tables])), deviations, len(x))
    return replace(found, details={"classes": float(len(classes))})


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
            _precision(found.precise, counts),
            _recall(found, len(x), counts),
            of_mean("density", found.balls / 5, counts, "higher"),
            about("coverage", found.coverage.share, halves_apart(found.coverage.shares, counts), len(x)),
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
