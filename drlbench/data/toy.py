"""Points in the plane as images: one row of two grey pixels (x, y), so that the whole pipeline runs on them as it is.

The plane is [-1, 1] x [-1, 1] on a grid of 256 x 256. The paper's own toy sets (its figures 2 and 3) are not described
in its text; these are in their spirit.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from drlbench.data.dataset import Dataset
from drlbench.data.kinds import TOY_SHAPES

Points = NDArray[np.float64]  # (n, 2), x and y in [-1, 1]
LEVELS = 255
SEED = 20260619


def islands(n: int, rng: np.random.Generator) -> Points:
    """Eight round islands of deviation 0.045 on a circle of radius 0.7; between and around them there is nothing."""
    angle = rng.integers(0, 8, n) * (np.pi / 4)
    centre = 0.7 * np.stack([np.cos(angle), np.sin(angle)], 1)
    return centre + 0.045 * rng.normal(size=(n, 2))


def spiral(n: int, rng: np.random.Generator) -> Points:
    """A curve: one and three quarter turns of an Archimedean spiral, blurred by a deviation of 0.012."""
    share = np.sqrt(rng.uniform(0.03, 1.0, n))  # about evenly along the curve
    angle = share * 3.5 * np.pi
    curve = 0.85 * share[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    return curve + 0.012 * rng.normal(size=(n, 2))


SHAPES: dict[str, Callable[[int, np.random.Generator], Points]] = {"islands": islands, "spiral": spiral}
assert tuple(SHAPES) == TOY_SHAPES


def to_pixels(points: Points) -> NDArray[np.uint8]:
    """(n, 1, 2, 1) uint8 images of points (n, 2); what lies outside the plane is put on its border."""
    return np.rint((points.clip(-1, 1) + 1) / 2 * LEVELS).astype(np.uint8)[:, None, :, None]


def toy(shape: str, points: int) -> Dataset:
    """`points` train and as many held-out points of one class, drawn from a fixed seed."""
    rng = np.random.default_rng(SEED)
    train, heldout = (to_pixels(SHAPES[shape](points, rng)) for _ in range(2))
    labels = np.zeros(points, np.int64)
    return Dataset(f"toy-{shape}", train, labels, heldout, labels.copy(), (shape,))
