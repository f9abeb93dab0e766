"""Preference scores as the field should quote them: paired differences from the base model on the same seeds.

Shapes: n samples, R resamples.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from drlbench.errors import UserError
from drlbench.metrics.base import Measurement
from drlbench.metrics.bootstrap import counts_or_default, of_mean

Scores = NDArray[np.floating[Any]]


def _scores(values: Scores, name: str) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or len(array) < 2:
        raise UserError(f"{name}: scores of shape {array.shape}; need one score for each of at least 2 samples")
    if not np.isfinite(array).all():
        raise UserError(f"{name}: {(~np.isfinite(array)).sum()} scores are NaN or infinite")
    return array


def mean_score(
    name: str, scores: Scores, counts: NDArray[np.integer[Any]] | None = None, resamples: int = 200
) -> Measurement:
    """Mean reward (n,) with its interval; details standard_deviation over samples.

    Raises:
        UserError: fewer than two scores, or NaN among them.
    """
    values = _scores(scores, name)
    resampling = counts_or_default(counts, len(values), resamples)
    return of_mean(name, values, resampling, "higher", {"standard_deviation": float(values.std(ddof=1))})
