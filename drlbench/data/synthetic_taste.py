"""A synthetic annotator of colour images, for suites that can ask no people. Nobody's taste: a rule, and openly one.

It likes colour and contrast:
    u(x) = 10 * chroma + 5 * contrast,
chroma = mean standard deviation of the three channels of a pixel, contrast = standard deviation of the grey values,
both of pixels in [0, 1]. Of two images it prefers the first with probability sigmoid(2 (u_first - u_second)). Natural
images have just so much of either, so that following this taste too far leaves the data.

Shapes: N pairs or images, H and W image height and width.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from drlbench.data.dataset import Dataset, Images
from drlbench.data.pairs import Pairs
from drlbench.errors import UserError

SHARPNESS, CHROMA_WEIGHT, CONTRAST_WEIGHT = 2.0, 10.0, 5.0
LEAST, MOST = 0.4, 1.8  # factors of chroma and contrast that the pairs cover


def utility(images: Images) -> NDArray[np.float64]:
    """u (N,) float64 of images (N, H, W, 3) uint8."""
    x = images / 255.0
    return CHROMA_WEIGHT * x.std(3).mean((1, 2)) + CONTRAST_WEIGHT * x.mean(3).std((1, 2))


def taste_pairs(data: Dataset, count: int, seed: int) -> Pairs:
    """Pairs (N = count) of train images of one class, each with its colour and contrast altered, judged with noise.

    Raises:
        UserError: the images are grey.
    """
    if data.train_images.shape[-1] != 3:
        raise UserError("synthetic-taste judges colour, and these images are grey; take synthetic-digits or pairs")
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, data.num_classes, count)
    first, second = (_altered(data, labels, rng) for _ in range(2))
    margin = utility(first) - utility(second)
    winner = (rng.random(count) > 1 / (1 + np.exp(-SHARPNESS * margin))).astype(np.int64)
    return Pairs("synthetic annotator (colour and contrast)", first, second, labels, winner)


def _altered(data: Dataset, labels: NDArray[np.int64], rng: np.random.Generator) -> Images:
    members = [np.flatnonzero(data.train_labels == c) for c in range(data.num_classes)]
    rows = np.array([rng.choice(members[c]) for c in labels])
    order = np.argsort(rows)  # neighbours lie together where images are decoded when asked for
    x = np.empty((len(rows), *data.train_images.shape[1:]))
    x[order] = np.asarray(data.train_images[rows[order]]) / 255.0  # (N, H, W, 3)
    chroma, contrast = rng.uniform(LEAST, MOST, (2, len(labels), 1, 1, 1))
    grey = x.mean(3, keepdims=True)
    middle = grey.mean((1, 2), keepdims=True)
    x = middle + contrast * (grey - middle) + chroma * (x - grey)
    return np.rint(np.clip(x, 0, 1) * 255).astype(np.uint8)
