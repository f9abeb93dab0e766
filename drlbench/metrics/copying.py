"""How near the generated images lie to single training images, against how near unseen real ones do.

FD to the train split falls when a model learns its images by heart; these two numbers rise.

Shapes: n generated samples, m train images, h held-out images, D dimensions.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from drlbench.errors import UserError
from drlbench.metrics.base import Evidence, Measurement, Metric
from drlbench.metrics.bootstrap import counts_or_default, of_mean
from drlbench.metrics.inputs import as_features
from drlbench.metrics.neighbours import Points, closest, radii

Array = NDArray[np.float64]


class Copies(NamedTuple):
    """Both in [0, 1]; the first has the held-out images' own share as detail `reference`, the second is .5 for them."""

    copied: Measurement
    nearer: Measurement


def copies(
    x: Any, train: Any, heldout: Any, *, counts: NDArray[np.integer[Any]] | None = None, resamples: int = 200
) -> Copies:
    """Both numbers of features x (n, D) against train (m, D) and held-out (h, D) ones.

    copied: the share of samples nearer to their nearest train image than that one is to its own nearest other (one
    less authenticity, Alaa et al., arXiv 2102.08921). nearer_than_heldout: P(d(sample) < d(held-out)), ties by half,
    d the distance to the nearest train image (Meehan et al., arXiv 2004.05675). Intervals redraw the samples; the real
    images are held fixed.

    Raises:
        UserError: malformed features, or fewer than two train images.
    """
    own, known, unseen = as_features(x), as_features(train), as_features(heldout)
    if len(known) < 2 or not len(unseen) or own.shape[1] != known.shape[1] or own.shape[1] != unseen.shape[1]:
        raise UserError(
            f"features {own.shape}, train {known.shape}, held-out {unseen.shape}: need one D, two train images"
        )
    centre = known.mean(0)
    points = Points(known, centre)
    gap = radii(points, (1,))[0]  # (m,) of each train image to its nearest other
    at, distance = closest(Points(own, centre), points)
    at_unseen, unseen_distance = closest(Points(unseen, centre), points)
    inside = (distance < gap[at]).astype(np.float64)
    ordered = np.sort(unseen_distance)
    # For every sample the share of held-out images that are further away, those as far by half.
    further = len(ordered) - np.searchsorted(ordered, distance, "right")
    ties = np.searchsorted(ordered, distance, "right") - np.searchsorted(ordered, distance, "left")
    beyond: Array = (further + 0.5 * ties) / len(ordered)
    resampling = counts_or_default(counts, len(own), resamples)

    reference = {"reference": float((unseen_distance < gap[at_unseen]).mean())}
    return Copies(
        of_mean("copied", inside, resampling, "lower", reference),
        of_mean("nearer_than_heldout", beyond, resampling, "lower"),
    )


class Copying(Metric):
    """`copied` and `nearer_than_heldout`; a reference of moments alone has no single images to be near to."""

    needs: ClassVar[Literal["features", "images"]] = "features"

    @classmethod
    def operations(cls, n: int, train: int, heldout: int, width: int, resamples: int) -> float:
        return 2.0 * train * (n + train + heldout) * width + 2.0 * n * resamples

    def measure(self, evidence: Evidence) -> list[Measurement]:
        evidence.require("copying", "features", "reference", "reference_val")
        if not isinstance(evidence.reference, np.ndarray):
            raise UserError("metric 'copying' needs the features of the train images; here are their moments alone")
        return list(copies(evidence.features, evidence.reference, evidence.reference_val, counts=evidence.counts))
