"""MIND against closed forms, its definition without sorting tricks, and its own interval."""

from __future__ import annotations

import numpy as np
import pytest

from drlbench.errors import UserError
from drlbench.metrics import Evidence, resample_counts
from drlbench.metrics.mind import MIND, mind


def test_a_shift_costs_three_times_its_square() -> None:
    """W2² of a shift c along u is (u·c)², whose mean over directions is |c|²/D."""
    x = np.random.default_rng(0).normal(size=(50, 6))
    c = np.array([0.5, -1.0, 0.0, 2.0, 0.0, 0.3])
    found = mind(x + c, x, directions=4000, resamples=0)
    assert found.value == pytest.approx(3 * c @ c, abs=4 * found.details["standard_error"])
    assert found.details["standard_error"] < 0.05 * found.value
    assert mind(x, x, resamples=0).value == 0.0
    assert mind(x[::-1], x, resamples=0).value == pytest.approx(0.0, abs=1e-20)  # the order of samples says nothing


def test_scaling_a_gaussian_has_a_closed_form() -> None:
    """N(0, s² I) against N(0, I): (s − 1)² along every direction."""
    rng = np.random.default_rng(1)
    x, y = 1.5 * rng.normal(size=(40_000, 4)), rng.normal(size=(40_000, 4))
    assert mind(x, y, directions=200, resamples=0).value == pytest.approx(3 * 4 * 0.25, rel=0.03)


def test_in_one_dimension_it_is_the_best_assignment() -> None:
    from scipy.optimize import linear_sum_assignment

    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(30, 1)), rng.exponential(size=(30, 1))
    costs = (x - y.T) ** 2
    best = costs[linear_sum_assignment(costs)].mean()
    assert mind(x, y, directions=5, resamples=0).value == pytest.approx(3 * best, rel=1e-12)


def test_replicates_follow_the_weights() -> None:
    """The derivative with respect to a sample's weight, against W2² of the weighted sample by its quantile function."""
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=400) * 1.3 + 0.4, rng.normal(size=400)
    counts = np.ones((1, 400), dtype=np.int64)
    counts[0, :40] += 1  # ten per cent drawn twice, the last tenth not at all
    counts[0, 360:] -= 1
    replicate = mind(x[:, None], y[:, None], directions=1, counts=counts).replicates
    assert replicate is not None
    drawn, target = np.sort(np.repeat(x, counts[0])), np.sort(y)
    before = 3 * np.mean((np.sort(x) - target) ** 2)
    after = 3 * np.mean((drawn - target) ** 2)
    assert replicate[0] - before == pytest.approx(after - before, rel=0.1)


def test_intervals_cover() -> None:
    """200 sets of 300: within four standard errors of 95 %."""
    real = np.random.default_rng(9).normal(size=(300, 5))
    found = [
        mind(1.3 * np.random.default_rng(seed).standard_t(8, size=(300, 5)) + 0.3, real, directions=60, resamples=20)
        for seed in range(200)
    ]
    centre = np.mean([m.value for m in found])
    assert 0.89 <= np.mean([m.low <= centre <= m.high for m in found]) <= 1.0


def test_sets_of_unlike_size_are_said() -> None:
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(100, 3)) + 1, rng.normal(size=(40, 3))
    (found,) = MIND().measure(Evidence(resample_counts(100, 50), x, reference_val=y))
    assert found.n == 40
    assert "40 samples of each set" in found.notes[0]
    assert found.low < found.value < found.high
    assert mind(x, x[:, :3] + 1, resamples=0).notes == ()
    with pytest.raises(UserError, match="0 directions"):
        mind(x, x, directions=0)
    with pytest.raises(UserError, match="cannot be compared"):
        mind(x, x[:, :2])
