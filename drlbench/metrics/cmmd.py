"""CMMD (Jayasumana et al. 2024): squared MMD of L2-normalised CLIP embeddings, Gaussian kernel, float64.

CMMD = 1000 [mean k(x, x') + mean k(y, y') − 2 mean k(x, y)], k(x, y) = exp(−|x − y|² / 2σ²), σ = 10, all pairs
including i = j (the V-statistic).

Shapes: n generated, m reference samples, D dimensions.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from drlbench.metrics.base import Evidence, Measurement, Metric
from drlbench.metrics.bootstrap import counts_or_default, first_order
from drlbench.metrics.inputs import as_features, same_dimension
from drlbench.metrics.kernel import gaussian_kernel

SIGMA, SCALE, BLOCK = 10.0, 1000.0, 1024


def _row_means(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    kernel = gaussian_kernel(SIGMA)
    return np.concatenate([kernel(x[i : i + BLOCK], y).mean(1) for i in range(0, len(x), BLOCK)])


def cmmd(a: Any, b: Any, *, counts: NDArray[np.integer[Any]] | None = None, resamples: int = 200) -> Measurement:
    """CMMD of generated `a` (n, D) to reference `b` (m, D); embeddings are taken as they are (normalise before).

    The interval is a first-order bootstrap over generated samples (`counts`, `resamples` as for `frechet_distance`).
    At most 1024 × max(n, m) kernel values are held at once.

    Raises:
        UserError: malformed features or different dimensions.
    """
    x, y = as_features(a, "a"), as_features(b, "b")
    same_dimension(x.shape[1], y.shape[1])
    to_x, to_y = _row_means(x, x), _row_means(x, y)
    value = SCALE * float(to_x.mean() + _row_means(y, y).mean() - 2.0 * to_y.mean())
    resampling = counts_or_default(counts, len(x), resamples)
    influence = SCALE * 2.0 * (to_x - to_y) / len(x)
    off = max(float(np.abs(np.linalg.norm(z, axis=1) - 1.0).max()) for z in (x, y))
    notes = () if off < 1e-3 else ("the features are not L2-normalised: this is an MMD, but not the published CMMD",)
    return first_order("cmmd", value, influence, resampling, "lower", notes)


class CMMD(Metric):
    """`cmmd` against held-out data, in a space of L2-normalised CLIP embeddings."""

    needs: ClassVar[Literal["features", "images"]] = "features"

    @classmethod
    def operations(cls, n: int, train: int, heldout: int, width: int, resamples: int) -> float:
        """Kernel values of all pairs."""
        return float((2 * width + 10) * (n + heldout) ** 2)

    def measure(self, evidence: Evidence) -> list[Measurement]:
        """cmmd."""
        evidence.require("cmmd", "features", "reference_val")
        return [cmmd(evidence.features, evidence.reference_val, counts=evidence.counts)]
