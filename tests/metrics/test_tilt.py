"""The tilt of a Gaussian by a quadratic is a Gaussian: every number has a closed form."""

from __future__ import annotations

import numpy as np
import pytest

from drlbench.errors import UserError
from drlbench.metrics.bootstrap import resample_counts
from drlbench.metrics.frechet import frechet_distance
from drlbench.metrics.tilt import Tilt

B, C = np.array([0.8, 0.0, -0.4]), np.array([0.5, 0.0, 0.2])  # l(x) = B x - C x^2/2 on N(0, 1)^3
VARIANCE = 1 / (1 + C)
MEAN = B * VARIANCE
LOG_Z = float(np.sum(0.5 * np.log(VARIANCE) + 0.5 * B**2 * VARIANCE))
OBJECTIVE_TERM = float(np.sum(B * MEAN - C * (VARIANCE + MEAN**2) / 2))  # E*[l]


def sample(n: int, seed: int) -> tuple[np.ndarray, Tilt]:
    x = np.random.default_rng(seed).normal(size=(n, 3))
    return x, Tilt.of(x @ B - (x**2 @ C) / 2, np.arange(n) % 4)


def test_objective_kl_and_means_are_the_gaussians() -> None:
    x, tilt = sample(40000, 0)
    counts = resample_counts(40000, 50)
    found = {m.metric: m for m in tilt.objective(counts)}
    assert found["tilt_objective"].value == pytest.approx(LOG_Z, abs=0.02)
    assert found["tilt_kl_nats"].value == pytest.approx(OBJECTIVE_TERM - LOG_Z, abs=0.02)
    assert tilt.mean("tilt_r", tilt.log_weights, counts).value == pytest.approx(OBJECTIVE_TERM, abs=0.03)
    assert tilt.mean("tilt_x", x[:, 0], counts).value == pytest.approx(MEAN[0], abs=0.02)
    assert tilt.notes() == ()


def test_frechet_is_that_of_the_tilted_gaussian_and_of_plain_samples_without_weights() -> None:
    x, tilt = sample(40000, 1)
    counts = resample_counts(40000, 20)
    real = np.random.default_rng(9).normal(size=(3000, 3)) * 0.7 + 0.3
    direct = np.random.default_rng(8).normal(size=(40000, 3)) * np.sqrt(VARIANCE) + MEAN
    expected = frechet_distance(direct, real, resamples=0).value
    assert tilt.frechet("tilt_fd", x, real, counts).value == pytest.approx(expected, abs=0.02)
    flat = Tilt.of(np.zeros(40000), np.arange(40000) % 4)
    plain, weighted = frechet_distance(x, real, counts=counts), flat.frechet("fd", x, real, counts)
    assert weighted.value == pytest.approx(plain.value, rel=1e-9)
    assert plain.replicates is not None
    assert weighted.replicates is not None
    assert np.allclose(weighted.replicates, plain.replicates, atol=2e-4 * plain.value)


def test_the_gain_is_that_of_two_gaussians() -> None:
    x, tilt = sample(40000, 1)
    real = np.random.default_rng(9).normal(size=(3000, 3)) * 0.7 + 0.3
    direct = np.random.default_rng(8).normal(size=(40000, 3)) * np.sqrt(VARIANCE) + MEAN
    expected = frechet_distance(x, real, resamples=0).value / frechet_distance(direct, real, resamples=0).value
    found = tilt.gain("gain", x, real, resample_counts(40000, 20), 0)
    assert found.value == pytest.approx(expected, rel=0.03) and found.better == "higher"
    assert found.n == round(tilt.share * 40000)
    flat = Tilt.of(np.zeros(40000), np.arange(40000) % 4).gain("gain", x, real, resample_counts(40000, 20), 0)
    assert flat.value == pytest.approx(1.0, rel=1e-9) and flat.high - flat.low < 1e-6


def test_a_weight_that_one_sample_carries_is_compared_with_two() -> None:
    """One sample has no spread."""
    tilt = Tilt.of(np.where(np.arange(20) == 3, 8.0, 0.0), np.zeros(20, dtype=np.int64))
    x = np.random.default_rng(0).normal(size=(20, 2))
    assert round(tilt.share * 20) == 1
    assert tilt.gain("gain", x, x[::-1] + 1.0, resample_counts(20, 5), 0).n == 2


def test_the_gain_does_not_take_few_effective_samples_for_a_loss() -> None:
    """400 samples of 40 dimensions, real ones as far as the mean of the tilt: a gain, which all samples hide."""
    rng = np.random.default_rng(3)
    slope = np.zeros(40)
    slope[0] = 1.0
    real, far = rng.normal(size=(20000, 40)) + slope, rng.normal(size=(40000, 40))
    naive, matched = [], []
    for seed in range(12):
        x = np.random.default_rng(50 + seed).normal(size=(400, 40))
        tilt, counts = Tilt.of(1.0 * x @ slope, np.arange(400) % 4), resample_counts(400, 20)
        start = frechet_distance(x, real, resamples=0).value
        naive.append(start / tilt.frechet("fd", x, real, counts).value)
        matched.append(tilt.gain("gain", x, real, counts, seed).value)
    assert frechet_distance(far, real, resamples=0).value == pytest.approx(1.0, abs=0.1)
    assert np.mean(naive) < 0.9 < 1.0 < np.mean(matched)


def test_intervals_cover() -> None:
    """200 sets of 800 samples: 95 % intervals hold the limit in 89 to 99 % of them (three standard errors about 95)."""
    real = np.random.default_rng(9).normal(size=(2000, 3)) * 0.7 + 0.3
    counts = resample_counts(800, 200)
    held = {"objective": 0, "kl": 0, "mean": 0, "fd": 0, "gain": 0}
    values, gains = [], []
    for seed in range(200):
        x, tilt = sample(800, 100 + seed)
        objective, kl, _ = tilt.objective(counts)
        mean, fd = tilt.mean("x", x[:, 0], counts), tilt.frechet("fd", x, real, counts)
        values.append(fd)
        gains.append(tilt.gain("gain", x, real, counts, seed))
        held["objective"] += objective.low <= LOG_Z <= objective.high
        held["kl"] += kl.low <= OBJECTIVE_TERM - LOG_Z <= kl.high
        held["mean"] += mean.low <= MEAN[0] <= mean.high
    # FD is biased at finite n, so its interval is about its own mean over sets.
    for name, found in (("fd", values), ("gain", gains)):
        centre = np.mean([m.value for m in found])
        held[name] = sum(m.low <= centre <= m.high for m in found)
    assert all(0.89 <= n / 200 <= 0.99 for n in held.values()), held


def test_a_weight_that_few_samples_carry_is_flagged_and_then_refused() -> None:
    x = np.random.default_rng(0).normal(size=(2000, 1))
    labels = np.zeros(2000, dtype=np.int64)
    some, none = Tilt.of(2.0 * x[:, 0], labels), Tilt.of(6.0 * x[:, 0], labels)
    assert some.usable
    assert "read with care" in some.notes()[0]
    assert not none.usable
    assert "refused" in none.notes()[0]


def test_a_draw_is_balanced_without_repetition_and_leans_where_the_weights_do() -> None:
    x, tilt = sample(8000, 2)
    drawn = tilt.draw(400, 0)
    assert len(np.unique(drawn)) == 400
    assert np.bincount(tilt.labels[drawn]).tolist() == [100] * 4
    assert abs(x[drawn, 0].mean() - MEAN[0]) < 0.15 < MEAN[0]
    with pytest.raises(UserError, match="tilt_samples"):
        tilt.draw(8004, 0)


def test_bad_weights_are_told() -> None:
    with pytest.raises(UserError, match="1 log-weights"):
        Tilt.of(np.array([0.0, np.nan]), np.zeros(2, dtype=np.int64))
