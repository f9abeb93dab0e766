"""The embedded data: scikit-learn's 1,797 real handwritten digits (UCI optdigits, test part), 8 x 8, grey."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from drlbench.data.dataset import Dataset, split_dataset

HELDOUT_FRACTION = 0.2


def digits() -> Dataset:
    """The digits as a Dataset: 1,797 uint8 images (8, 8, 1), labels 0-9, a fifth of each class held out.

    The original counts of ink 0..16 per pixel become round(count * 255 / 16).
    """
    table = np.loadtxt(_file(), delimiter=",", dtype=np.int64)  # a row an image: 64 counts, then the label
    images = np.rint(table[:, :64].reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    return split_dataset("digits", images, table[:, 64].copy(), [str(digit) for digit in range(10)], HELDOUT_FRACTION)


def _file() -> Path:
    """What `sklearn.datasets.load_digits` reads: that import takes longer than most stages of the digits suite."""
    found = find_spec("sklearn")
    assert found is not None and found.submodule_search_locations
    return Path(found.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz"
