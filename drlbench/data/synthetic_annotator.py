"""A synthetic annotator of digits, for suites that can ask no people. Nobody's taste: a rule, and openly one.

It likes a digit that is legible and boldly inked:
    u(x, y) = legibility / 2 + 20 * ink,
legibility = log p(y | x) under linear discriminant analysis of the real train pixels, not below -6, and ink = mean
of the squared pixel values in [0, 1]. Of two images of one class it prefers the first with probability
sigmoid(2 (u_first - u_second)). Bold ink is what real digits do not have more of, so that following this taste too
far leaves the data, as following a preference model does on photographs.

Shapes: N pairs or images, H height, W width, C channels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from drlbench.data.dataset import Dataset, Images, Labels
from drlbench.data.pairs import Pairs

SHARPNESS, INK_WEIGHT, FLOOR = 2.0, 20.0, -6.0
RIDGE = 0.02  # of [0, 1] pixel variance; border pixels that are never inked have none of their own


class Annotator:
    """The rule, fitted to a data set's train split."""

    def __init__(self, data: Dataset) -> None:
        pixels = _flat(data.train_images)
        self.means = np.stack([pixels[data.train_labels == c].mean(0) for c in range(data.num_classes)])
        spread = np.cov((pixels - self.means[data.train_labels]).T)
        self.precision = np.linalg.inv(spread + RIDGE * np.eye(len(spread)))

    def utility(self, images: Images, labels: Labels) -> NDArray[np.float64]:
        """u of images (N, H, W, C) uint8 with labels (N,), float64 (N,)."""
        pixels = _flat(images)
        linear = pixels @ self.precision @ self.means.T
        scores = linear - 0.5 * np.einsum("cd,de,ce->c", self.means, self.precision, self.means)
        scores -= scores.max(1, keepdims=True)
        log_posterior = scores - np.log(np.exp(scores).sum(1, keepdims=True))
        legibility = np.maximum(log_posterior[np.arange(len(labels)), labels], FLOOR)
        return legibility / 2 + INK_WEIGHT * (pixels**2).mean(1)


def synthetic_pairs(data: Dataset, count: int, seed: int) -> Pairs:
    """Pairs of altered real train digits, judged by the annotator with its noise.

    Both images of a pair are train digits of one class, each blended, faded or thickened, shifted and roughened at
    random, so that the pairs cover what a generator may make.
    """
    rng, annotator = np.random.default_rng(seed), Annotator(data)
    labels = rng.integers(0, data.num_classes, count)
    first, second = (_altered(data, labels, rng) for _ in range(2))
    margin = annotator.utility(first, labels) - annotator.utility(second, labels)
    winner = (rng.random(count) > 1 / (1 + np.exp(-SHARPNESS * margin))).astype(np.int64)
    return Pairs("synthetic annotator (bold and legible)", first, second, labels, winner)


def _flat(images: Images) -> NDArray[np.float64]:
    return images.reshape(len(images), -1) / 255.0


def _altered(data: Dataset, labels: Labels, rng: np.random.Generator) -> Images:
    members = [np.flatnonzero(data.train_labels == c) for c in range(data.num_classes)]
    picks = np.array([rng.choice(members[c], 2) for c in labels])  # (N, 2)
    images = data.train_images / 255.0
    blend = rng.choice([0.0, 0.5], len(labels), p=[0.6, 0.4])[:, None, None, None] * rng.random((len(labels), 1, 1, 1))
    x = (1 - blend) * images[picks[:, 0]] + blend * images[picks[:, 1]]  # (N, H, W, C)
    thick = np.maximum.reduce([x, np.roll(x, 1, 1), np.roll(x, 1, 2)])
    weight = np.clip(rng.normal(0, 0.3, (len(labels), 1, 1, 1)), 0, 1)
    x = (1 - weight) * x + weight * thick
    x = x * rng.uniform(0.7, 1.3, (len(labels), 1, 1, 1))
    shifts = rng.integers(-1, 2, (len(labels), 2))
    moved = rng.random(len(labels)) < 0.2
    for i in np.flatnonzero(moved):
        x[i] = np.roll(x[i], shifts[i], (0, 1))
    x = x + rng.uniform(0, 0.1, (len(labels), 1, 1, 1)) * rng.standard_normal(x.shape)
    return np.rint(np.clip(x, 0, 1) * 255).astype(np.uint8)
