"""The synthetic annotator of colour images judges by its rule."""

from __future__ import annotations

import numpy as np
import pytest

from drlbench.data.dataset import Dataset
from drlbench.data.synthetic_taste import SHARPNESS, taste_pairs, utility
from drlbench.errors import UserError


def dataset(channels: int) -> Dataset:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 6, 6, channels), dtype=np.uint8)
    labels = np.arange(60, dtype=np.int64) % 3
    return Dataset("made up", images[:40], labels[:40], images[40:], labels[40:], ("a", "b", "c"))


def test_colour_and_contrast_please() -> None:
    grey = np.full((1, 4, 4, 3), 128, np.uint8)
    red = grey.copy()
    red[..., 0] = 255
    striped = grey.copy()
    striped[:, ::2] = 255
    assert utility(grey)[0] == 0 < min(utility(red)[0], utility(striped)[0])


def test_pairs_follow_the_rule_with_its_noise() -> None:
    pairs = taste_pairs(dataset(3), 4000, seed=1)
    assert pairs.first.shape == pairs.second.shape == (4000, 6, 6, 3) and pairs.first.dtype == np.uint8
    margin = SHARPNESS * (utility(pairs.first) - utility(pairs.second))
    p = 1 / (1 + np.exp(-margin))
    won = pairs.winner == 0
    # Brier score of the true probabilities against what was drawn: within four standard errors of its expectation.
    spread = np.sqrt((p * (1 - p) * (1 - 2 * p) ** 2).sum()) / len(p)
    assert abs(((p - won) ** 2).mean() - (p * (1 - p)).mean()) < 4 * spread + 1e-9
    assert (taste_pairs(dataset(3), 50, seed=1).first == taste_pairs(dataset(3), 50, seed=1).first).all()
    assert np.corrcoef(p, won)[0, 1] > 0.3


def test_grey_images_are_refused() -> None:
    with pytest.raises(UserError, match="judges colour"):
        taste_pairs(dataset(1), 10, seed=0)
