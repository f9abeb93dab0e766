"""Any registered metric on arrays, for notebooks and other people's scripts.

Shapes: n generated samples, m real ones, D feature dimension, H and W height and width, C channels, R resamples.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from drlbench.errors import UserError
from drlbench.metrics.base import Evidence, Measurement, Metric
from drlbench.metrics.bootstrap import resample_counts
from drlbench.registry import METRICS


def measure(
    metric: str,
    *,
    features: NDArray[np.floating[Any]] | None = None,
    labels: NDArray[np.integer[Any]] | None = None,
    images: NDArray[np.uint8] | None = None,
    reference: Any = None,
    reference_val: NDArray[np.floating[Any]] | None = None,
    reference_val_labels: NDArray[np.integer[Any]] | None = None,
    reference_images: NDArray[np.uint8] | None = None,
    num_classes: int | None = None,
    resamples: int = 200,
    seed: int = 0,
) -> list[Measurement]:
    """Everything that a metric says of samples, with 95 % intervals, as a run measures it.

    Args:
        metric: a registered name; `drlbench list metrics` shows them.
        features: (n, D) of the generated samples, in the space that is measured.
        labels: (n,) class of each.
        images: (n, H, W, C) uint8, the samples themselves.
        reference: (m, D) features of the training data, or an object with mean, covariance and n.
        reference_val, reference_val_labels: (m, D) features and (m,) classes of held-out data.
        reference_images: (m, H, W, C) uint8 held-out images.
        num_classes: where the metric goes by class.
        resamples: R of the bootstrap. seed: of its draws; metrics that share both can be compared in pairs.

    Raises:
        UserError: an unknown name; nothing that the metric measures; arrays of different lengths.
    """
    kind: type[Metric] = METRICS.get(metric)
    given = {"features": features, "labels": labels, "images": images}
    lengths = {name: len(array) for name, array in given.items() if array is not None}
    if kind.needs not in lengths:
        raise UserError(f"metric '{metric}' measures {kind.needs}: give `{kind.needs}`")
    if len(set(lengths.values())) > 1:
        raise UserError("these are not of the same samples: " + ", ".join(f"{v} {k}" for k, v in lengths.items()))
    evidence = Evidence(
        resample_counts(lengths[kind.needs], resamples, seed), features, labels, images, reference, reference_val,
        reference_val_labels, reference_images, num_classes,
    )  # fmt: skip
    return kind().measure(evidence)
