"""The embedded data: scikit-learn's 1,797 real handwritten digits (UCI optdigits, test part), 8 x 8, grey."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

from drlbench.data.dataset import Dataset, split_dataset

HELDOUT_FRACTION = 0.2


def digits() -> Dataset:
    """The digits as a Dataset: 1,797 uint8 images (8, 8, 1), labels 0-9, a fifth of each class held out.

    The original counts of ink 0..16 per pixel become round(count * 255 / 16).
    """
    source = load_digits()
    images = np.rint(source.images[..., None] * (255 / 16)).astype(np.uint8)  # (1797, 8, 8, 1)
    labels = source.target.astype(np.int64)
    return split_dataset("digits", images, labels, [str(name) for name in source.target_names], HELDOUT_FRACTION)
