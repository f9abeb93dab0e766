"""An interval that a few samples decide says that it may be too narrow; one that many do says nothing."""

from __future__ import annotations

import numpy as np
import pytest

from drlbench.metrics import frechet_distance, kernel_distance, resample_counts
from drlbench.metrics.bootstrap import heavy


def told(draw: str, n: int, measure: object) -> float:
    """Share of 20 sets whose row carries the note."""
    reference, counts = np.random.default_rng(1).normal(size=(400, 5)), resample_counts(n, 20)
    flagged = 0
    for seed in range(20):
        rng = np.random.default_rng(1000 + seed)
        x = rng.standard_t(3, size=(n, 5)) if draw == "t3" else 0.9 * rng.normal(size=(n, 5)) + 0.2
        m = measure(x, reference, counts=counts)  # type: ignore[operator] # one of two functions
        noted = any("may be too narrow" in note for note in m.notes)
        assert noted == ("tail_share" in m.details)
        flagged += noted
    return flagged / 20


@pytest.mark.parametrize("measure", [frechet_distance, kernel_distance])
def test_without_a_fourth_moment_it_is_told_and_with_all_of_them_it_is_not(measure: object) -> None:
    assert told("t3", 500, measure) >= 0.8
    assert told("normal", 500, measure) == 0


def test_the_share_is_that_of_the_largest_hundredth() -> None:
    few = np.zeros(200)
    few[:4] = [3.0, -3.0, 1.0, -1.0]
    assert heavy(few) == pytest.approx(18 / 20)
    assert heavy(np.tile([1.0, -1.0], 100)) is None
    assert heavy(few[:40]) is None  # of so few one is always much
