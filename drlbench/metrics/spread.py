"""Variance of the features inside the classes and between them: a model that grows typical shrinks the first.

within = mean over classes of tr cov(x | class);  between = tr cov of the class means, less the means' own noise.
FD and precision hardly show such shrinking; recall does, but not in which direction.

Shapes: n samples, D dimensions, C classes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from drlbench.errors import UserError
from drlbench.metrics.base import Evidence, Measurement, Metric
from drlbench.metrics.bootstrap import counts_or_default, first_order
from drlbench.metrics.inputs import as_features

Labels = NDArray[np.integer[Any]]


class Spread(NamedTuple):
    """Both variances, in squared units of the space."""

    within: Measurement
    between: Measurement


def class_spread(
    x: Any, labels: Labels, *, counts: NDArray[np.integer[Any]] | None = None, resamples: int = 200
) -> Spread:
    """Both variances of features (n, D) with labels (n,); every class counts alike.

    Raises:
        UserError: malformed features, or fewer than two classes or two samples of a class.
    """
    features, labels = as_features(x), np.asarray(labels)
    classes, sizes = np.unique(labels, return_counts=True)
    if labels.shape != (len(features),) or len(classes) < 2 or sizes.min() < 2:
        raise UserError(f"{len(features)} samples with labels {labels.shape}: need two classes of two samples or more")
    means = np.stack([features[labels == c].mean(0) for c in classes])  # (C, D)
    centre, many = means.mean(0), len(classes)
    inside, outside = np.zeros(len(features)), np.zeros(len(features))
    variances = np.zeros(many)
    for i, c in enumerate(classes):
        own = labels == c
        centred = features[own] - means[i]
        squares = np.square(centred).sum(1)
        variances[i] = squares.sum() / (sizes[i] - 1)
        inside[own] = (squares - squares.mean()) / (many * sizes[i])
        outside[own] = 2.0 * centred @ (means[i] - centre) / ((many - 1) * sizes[i])
    within = float(variances.mean())
    between = float(np.square(means - centre).sum() / (many - 1) - (variances / sizes).mean())
    resampling = counts_or_default(counts, len(features), resamples)

    def measured(metric: str, value: float, influence: NDArray[np.float64]) -> Measurement:
        return first_order(metric, value, influence, resampling, "closer")

    return Spread(measured("variance_within", within, inside), measured("variance_between", between, outside))


class ClassSpread(Metric):
    """`variance_within` and `variance_between`, beside those of the held-out images (details reference)."""

    needs: ClassVar[Literal["features", "images"]] = "features"

    def measure(self, evidence: Evidence) -> list[Measurement]:
        """Both, with the held-out images' own as `reference` where their classes are known."""
        evidence.require("spread", "features", "labels")
        assert evidence.labels is not None
        found = list(class_spread(evidence.features, evidence.labels, counts=evidence.counts))
        real = evidence.reference_val_labels
        if evidence.reference_val is None or real is None or np.unique(real, return_counts=True)[1].min() < 2:
            return found
        beside = class_spread(evidence.reference_val, real, resamples=0)
        return [replace(m, details={"reference": r.value}) for m, r in zip(found, beside, strict=True)]
