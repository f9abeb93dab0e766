"""FDr over spaces: the mean of FD ratios, so that no single network decides (Yang et al. 2026, arXiv:2604.28190).

A space's ratio is FD(generated, training) / FD(held-out, training), 1 for a model as far from the training images as
real ones are. The published FDr⁶ is the mean over Inception, ConvNeXt V2, DINOv2, MAE, CLIP and SigLIP 2 with that
paper's own features and 50,000 images; over other spaces, or other images, the number compares within one suite only.

Shapes: K spaces, R resamples.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from drlbench.metrics.base import Measurement
from drlbench.metrics.bootstrap import NORMAL


def mean_ratio(
    metric: str, ratios: NDArray[np.float64], n: int, replicates: Sequence[NDArray[np.float64]] = ()
) -> Measurement:
    """The mean of K ratios; an interval of 1.96 standard deviations of the mean's replicates where all K have some.

    Args:
        ratios: (K,) one a space, of the same n samples.
        replicates: K arrays (R,), paired by resample, so that what the spaces share is counted.
    """
    value, details = float(ratios.mean()), {"spaces": float(len(ratios))}
    if len(replicates) != len(ratios):
        return Measurement(metric, value, np.nan, np.nan, n, "lower", None, (), details)
    draws = np.mean(replicates, axis=0)  # (R,)
    half = NORMAL * float(draws.std(ddof=1))
    return Measurement(metric, value, value - half, value + half, n, "lower", draws, (), details)
