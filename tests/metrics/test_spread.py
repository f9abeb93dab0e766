"""Variances within and between classes of known Gaussians, with intervals that hold."""

from __future__ import annotations

import numpy as np
import pytest

from drlbench.errors import UserError
from drlbench.metrics import Evidence, resample_counts
from drlbench.metrics.spread import ClassSpread, class_spread

MEANS = np.array([[0.0, 0.0, 0.0], [3.0, 0.0, 0.0], [0.0, 3.0, 0.0], [3.0, 3.0, 3.0]])
BETWEEN = float(np.square(MEANS - MEANS.mean(0)).sum() / 3)


def draw(seed: int, n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    labels = np.arange(n) % 4
    return MEANS[labels] + 0.5 * np.random.default_rng(seed).normal(size=(n, 3)), labels


def test_both_are_the_gaussians_and_intervals_hold() -> None:
    counts, held = resample_counts(400, 200), np.zeros(2)
    values = []
    for seed in range(150):
        found = class_spread(*draw(seed), counts=counts)
        values.append([m.value for m in found])
        held += [m.low <= truth <= m.high for m, truth in zip(found, (0.75, BETWEEN), strict=True)]
    assert np.mean(values, 0) == pytest.approx([0.75, BETWEEN], rel=0.01)
    assert (held / 150 > 0.88).all(), held


def test_the_metric_stands_beside_the_held_out_images() -> None:
    x, y = draw(0)
    real, real_y = draw(1, 200)
    evidence = Evidence(resample_counts(400, 20), x, y, reference_val=2 * real, reference_val_labels=real_y)
    within, between = ClassSpread().measure(evidence)
    assert within.details["reference"] == pytest.approx(4 * class_spread(real, real_y).within.value)
    assert between.details["reference"] == pytest.approx(4 * class_spread(real, real_y).between.value)


def test_one_class_is_refused() -> None:
    with pytest.raises(UserError, match="two classes"):
        class_spread(np.zeros((4, 2)), np.zeros(4, dtype=np.int64))
