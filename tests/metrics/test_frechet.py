"""Fréchet distance against float64 references, analytic truths and its own symmetries."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drlbench.errors import UserError
from drlbench.metrics import Evidence, Gaussian, frechet_distance, resample_counts
from drlbench.metrics.frechet import FrechetDistance

GOLDEN = Path(__file__).parents[1] / "golden" / "metrics"
EXPECTED = json.loads((GOLDEN / "fd_expected.json").read_text())["cases"]


def moments(x):
    x = np.asarray(x, dtype=np.float64)
    return SimpleNamespace(mean=x.mean(0), covariance=np.cov(x, rowvar=False), n=len(x))


def features(name):
    with np.load(GOLDEN / f"{name}.npz") as file:
        return file["x1"].astype(np.float64), file["x2"].astype(np.float64)


def test_full_rank_matches_the_float64_reference():
    a, b = features("fd_d64_full")
    expected = EXPECTED["fd_d64_full"]["reference_svd_f64"]
    assert frechet_distance(a, b).value == pytest.approx(expected, rel=1e-10)
    assert frechet_distance(moments(a), moments(b)).value == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("name", ["fd_d64_rankdef", "fd_d256_rankdef", "fd_d64_n2n3"])
def test_rank_deficient_matches_the_reference_and_says_so(name):
    a, b = features(name)
    expected = EXPECTED[name]["reference_svd_f64"]
    result = frechet_distance(a, b)
    assert result.value == pytest.approx(expected, abs=1e-9)
    assert result.rank_deficient
    assert "n = " in result.notes[0]
    assert frechet_distance(moments(a), moments(b)).value == pytest.approx(expected, abs=1e-5)
    assert frechet_distance(moments(a), b).value == pytest.approx(expected, abs=1e-5)
    assert frechet_distance(a, moments(b)).value == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    "name", ["fdstats_d64_decay1_rank64", "fdstats_d64_decay3_rank64", "fdstats_d128_decay1_rank50"]
)
def test_statistics_with_an_analytic_distance(name):
    with np.load(GOLDEN / f"{name}.npz") as file:
        a = SimpleNamespace(mean=file["mu1"], covariance=file["sigma1"], n=10_000)
        b = SimpleNamespace(mean=file["mu2"], covariance=file["sigma2"], n=10_000)
    result = frechet_distance(a, b)
    assert result.value == pytest.approx(EXPECTED[name]["exact"], rel=1e-11)
    assert result.rank_deficient == ("rank50" in name)
    assert np.isnan(result.low) and result.replicates is None


def test_large_offset_and_dead_columns():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((300, 20)), 1.1 * rng.standard_normal((250, 20)) + 0.2
    plain = frechet_distance(a, b).value
    assert frechet_distance(a + 4096, b + 4096).value == pytest.approx(plain, rel=1e-9)
    dead = np.zeros((300, 5)), np.zeros((250, 5))
    padded = frechet_distance(np.hstack([a, dead[0]]), np.hstack([b, dead[1]]))
    assert padded.value == pytest.approx(plain, rel=1e-10)
    assert padded.details["rank_a"] == 20 and padded.rank_deficient


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 40), st.integers(2, 40), st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_never_complex_never_nan_symmetric_and_zero_on_itself(n, m, d, seed):
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((n, d)), rng.standard_normal((m, d)) * rng.random(d)
    ab = frechet_distance(a, b, resamples=0).value
    assert np.isfinite(ab) and ab > -1e-9
    assert frechet_distance(b, a, resamples=0).value == pytest.approx(ab, abs=1e-6)
    assert abs(frechet_distance(a, a, resamples=0).value) < 1e-9


@pytest.mark.parametrize("shape", [(200, 12), (30, 64)])
def test_influence_is_the_derivative_with_respect_to_sample_weights(shape):
    """Replicates are linear in the counts; duplicating one sample a little must move FD at that rate."""
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal(shape), 1.3 * rng.standard_normal((400, shape[1])) + 0.1
    n, h = len(a), 1e-4

    def weighted(w):
        mean = w @ a / n
        c = (a - mean) * np.sqrt(w)[:, None]
        return SimpleNamespace(mean=mean, covariance=c.T @ c / (n - 1), n=10**6)

    counts = np.ones((1, n), dtype=np.int64)
    counts[0, 3] += 1
    counts[0, 7] -= 1
    change = frechet_distance(a, b, counts=counts).replicates[0] - frechet_distance(a, b).value
    up, down = np.ones(n), np.ones(n)
    up[3], up[7] = 1 + h, 1 - h
    down[3], down[7] = 1 - h, 1 + h
    slope = (frechet_distance(weighted(up), b).value - frechet_distance(weighted(down), b).value) / (2 * h)
    assert change == pytest.approx(slope, rel=2e-3)


def test_interval_width_is_the_spread_over_independent_draws():
    rng = np.random.default_rng(2)
    reference = SimpleNamespace(mean=np.zeros(16), covariance=np.eye(16), n=10**6)
    draws = [frechet_distance(0.2 + 1.1 * rng.standard_normal((400, 16)), reference) for _ in range(60)]
    spread = np.std([d.value for d in draws])
    predicted = np.mean([np.std(d.replicates) for d in draws])
    assert predicted == pytest.approx(spread, rel=0.3)


def test_paired_resamples_cancel_what_two_cells_share():
    rng = np.random.default_rng(3)
    base = rng.standard_normal((500, 8))
    reference = rng.standard_normal((500, 8)) + 0.5
    counts = resample_counts(500)
    one = frechet_distance(base, reference, counts=counts)
    two = frechet_distance(base * 1.01, reference, counts=counts)
    assert np.std(one.replicates - two.replicates) < 0.2 * np.std(one.replicates)


def test_metric_reports_training_held_out_and_ratio():
    rng = np.random.default_rng(4)
    x, train, held = (rng.standard_normal((300, 6)) for _ in range(3))
    found = FrechetDistance().measure(
        Evidence(counts=resample_counts(300), features=x, reference=train, reference_val=held)
    )
    fd, fd_val, fdr = found
    assert [m.metric for m in found] == ["fd", "fd_val", "fdr"]
    assert fd_val.value == pytest.approx(frechet_distance(x, held).value)
    assert fdr.value == pytest.approx(fd.value / frechet_distance(held, train).value)
    assert all(m.low < m.value < m.high for m in found)


def test_a_gaussian_is_factored_once():
    rng = np.random.default_rng(5)
    reference = Gaussian.of(moments(rng.standard_normal((100, 5))))
    frechet_distance(rng.standard_normal((100, 5)), reference)
    factor = reference.factor
    frechet_distance(rng.standard_normal((90, 5)), reference)
    assert reference.factor is factor and Gaussian.of(reference) is reference


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (np.full((5, 3), np.nan), "NaN"),
        (np.array([[1, 2], [3]], dtype=object), "object array"),
        (np.zeros((1, 3)), "at least 2"),
        (np.zeros(7), "shape"),
        (np.array([["a", "b"], ["c", "d"]]), "real numbers"),
        (np.zeros((5, 4)), "dimensions cannot be compared"),
    ],
)
def test_bad_features_are_one_clear_message(bad, says):
    with pytest.raises(UserError, match=says):
        frechet_distance(bad, np.random.default_rng(0).standard_normal((9, 3)))


def test_no_ratio_to_a_distance_of_zero():
    rng = np.random.default_rng(0)
    x, train = rng.standard_normal((50, 4)), rng.standard_normal((60, 4))
    evidence = Evidence(counts=resample_counts(50), features=x, reference=train, reference_val=train.astype(np.float32))
    found = FrechetDistance().measure(evidence)
    assert [m.metric for m in found] == ["fd", "fd_val"]
    assert any("fdr is left out" in note for note in found[0].notes)
