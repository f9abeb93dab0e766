"""FD∞ against the closed form of Gaussians, the published recipe and its own definition."""

from __future__ import annotations

import numpy as np
import pytest

from drlbench.errors import UserError
from drlbench.metrics import Evidence, frechet_distance, resample_counts
from drlbench.metrics.bootstrap import standard_error
from drlbench.metrics.fd_infinity import FrechetInfinity, frechet_infinity, intercept_weights, part_sizes

D = 12
REAL = np.random.default_rng(9).normal(size=(4000, D))


def draw(seed: int, n: int = 600) -> np.ndarray:
    return 0.8 * np.random.default_rng(seed).normal(size=(n, D)) + 0.2


def truth() -> float:
    """FD of the generated law itself, a Gaussian, to the reference's moments."""
    covariance = np.cov(REAL, rowvar=False)
    gap = 0.2 - REAL.mean(0)
    return float(gap @ gap + 0.64 * D + np.trace(covariance) - 1.6 * np.sqrt(np.linalg.eigvalsh(covariance)).sum())


def test_the_bias_of_few_samples_is_gone_and_the_interval_holds_the_truth() -> None:
    found = [frechet_infinity(draw(seed), REAL, resamples=20) for seed in range(60)]
    plain = np.mean([m.details["fd"] for m in found])
    error = np.std([m.value for m in found]) / np.sqrt(60)
    assert plain - truth() > 5 * error  # FD itself is biased
    assert abs(np.mean([m.value for m in found]) - truth()) < 3 * error
    held = sum(m.low <= truth() <= m.high for m in found)
    assert held >= 51  # of 60 at 95 %: 51 or fewer has probability 3e-3


def test_the_line_is_least_squares_over_the_published_sizes() -> None:
    sizes = part_sizes(50_000, 2048)
    assert len(sizes) == 15
    assert (sizes[0], sizes[-1]) == (5000, 50_000)  # those of Chong and Forsyth
    assert part_sizes(3000, 500)[0] == 1000  # above the dimension
    x = 1.0 / sizes
    y = 3.0 + 1700.0 * x + np.random.default_rng(0).normal(size=15) * 0.01
    assert intercept_weights(x) @ y == pytest.approx(np.polyfit(x, y, 1)[1], rel=1e-9)


def test_the_value_is_that_of_its_parts() -> None:
    x, rng = draw(3, 200), np.random.default_rng(0)
    sizes = part_sizes(200, D)
    distances = [frechet_distance(x[rng.permutation(200)[:size]], REAL, resamples=0).value for size in sizes]
    slope, value = np.polyfit(1.0 / sizes, distances, 1)
    found = frechet_infinity(x, REAL, counts=resample_counts(200, 400))
    assert found.value == pytest.approx(value, rel=1e-8)
    assert found.details["slope"] == pytest.approx(slope, rel=1e-8)
    assert found.details["smallest"] == sizes[0]
    assert found.replicates is not None
    # The linear replicates spread as the interval says, to the error of 400 of them and its asymmetry.
    assert np.std(found.replicates) == pytest.approx((found.high - found.low) / (2 * 1.96), rel=0.15)


def test_too_few_samples_are_told() -> None:
    with pytest.raises(UserError, match="at least 30"):
        frechet_infinity(draw(0, 29), REAL)
    with pytest.raises(UserError, match="reference"):
        FrechetInfinity().measure(Evidence(resample_counts(40), draw(0, 40)))


def test_thin_parts_are_flagged() -> None:
    wide = np.random.default_rng(0).normal(size=(60, 40))
    notes = frechet_infinity(wide, np.random.default_rng(1).normal(size=(500, 40)), resamples=0).notes
    assert "parts of 30 to 60 samples for 40 dimensions" in notes[0]
    assert frechet_infinity(draw(0), REAL, resamples=0).notes == ()


def test_a_standard_error_is_that_of_a_mean() -> None:
    values = np.random.default_rng(2).normal(size=50)
    assert standard_error((values - values.mean()) / 50) == pytest.approx(values.std(ddof=1) / np.sqrt(50))
