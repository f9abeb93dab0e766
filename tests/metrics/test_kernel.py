"""Kernel distance, CMMD and Inception score against the tools that define them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from drlbench.errors import UserError
from drlbench.metrics import Evidence, cmmd, inception_score, kernel_distance, resample_counts
from drlbench.metrics.cmmd import CMMD
from drlbench.metrics.inception_score import InceptionScore
from drlbench.metrics.kernel import (
    KernelDistance,
    _dense,
    _subsets,
    draw_subsets,
    polynomial_kernel,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "metrics"


def load(name):
    with np.load(GOLDEN / f"{name}.npz") as file:
        return {key: file[key] for key in file.files}


def expected(name):
    return json.loads((GOLDEN / f"{name}_expected.json").read_text())


@pytest.fixture(scope="module")
def kid():
    case = expected("kid")["cases"]["kid_d64"]
    arrays = load("kid_d64")
    settings = {"subsets": case["subsets"], "subset_size": case["subset_size"]}
    return arrays["x1"], arrays["x2"], settings, case


@pytest.mark.parametrize(("kernel", "key"), [("polynomial", "poly"), ("gaussian", "rbf")])
def test_torch_fidelity_convention(kid, kernel, key):
    a, b, settings, case = kid
    mean, deviation = case[f"torch_fidelity_{key}_float64(rng_seed=2020)"]
    result = kernel_distance(a, b, kernel=kernel, **settings)
    assert result.value == pytest.approx(mean, rel=1e-12)
    assert result.details["standard_deviation"] == pytest.approx(deviation, rel=1e-12)
    assert result.details["standard_error"] == pytest.approx(deviation / np.sqrt(50), rel=1e-12)
    assert result.low < result.value < result.high


def test_clean_fid_and_dgm_eval_conventions(kid):
    a, b, settings, case = kid
    clean = kernel_distance(a, b, convention="clean-fid", **settings)
    assert clean.value == pytest.approx(case["clean_fid_kernel_distance_float64(np.random.seed(0))"], rel=1e-12)
    mean, variance = case["dgm_eval_float64(np.random.seed(0))_mean_var"]
    dgm = kernel_distance(a, b, convention="dgm-eval", **settings)
    assert dgm.value == pytest.approx(mean, rel=1e-12)
    assert dgm.details["standard_deviation"] ** 2 == pytest.approx(variance, rel=1e-10)


def test_both_ways_of_summing_agree(kid):
    a, b = kid[0].astype(np.float64), kid[1].astype(np.float64)
    xi, yi = draw_subsets(len(a), len(b), 20, 60, "torch-fidelity", None)
    dense, loop = (
        _dense(a, b, xi, yi, polynomial_kernel, block=97),
        _subsets(a, b, xi, yi, polynomial_kernel),
    )
    np.testing.assert_allclose(dense.subset_values, loop.subset_values, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(dense.influence, loop.influence, rtol=1e-9, atol=1e-15)


def test_interval_covers_the_spread_over_independent_draws():
    rng = np.random.default_rng(0)
    reference = rng.standard_normal((600, 8))
    draws = [kernel_distance(rng.standard_normal((300, 8)) + 0.3, reference, subsets=20) for _ in range(40)]
    spread = np.std([d.value for d in draws])
    assert np.mean([np.std(d.replicates) for d in draws]) == pytest.approx(spread, rel=0.35)


def test_small_sets_and_bad_names(kid):
    a, b = kid[0][:50], kid[1][:40]
    assert "subsets of 40" in kernel_distance(a, b).notes[0]
    with pytest.raises(UserError, match="did you mean 'clean-fid'"):
        kernel_distance(a, b, convention="cleanfid")
    with pytest.raises(UserError, match="gaussian"):
        kernel_distance(a, b, kernel="rbf2")
    with pytest.raises(UserError, match="at least 1 subset"):
        kernel_distance(a, b, subsets=0)


def test_cmmd():
    arrays = load("cmmd")
    result = cmmd(arrays["x1"], arrays["x2"])
    assert result.value == pytest.approx(expected("cmmd")["expected"]["cmmd_pytorch_float64"], abs=1e-11)
    assert result.low < result.value < result.high
    assert cmmd(arrays["x1"], arrays["x1"]).value == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("splits", [1, 10])
@pytest.mark.parametrize("shuffle", [True, False])
def test_inception_score_torch_fidelity(splits, shuffle):
    want = expected("is")["expected"][f"torch_fidelity_splits{splits}_shuffle{shuffle}_seed2020"]
    result = inception_score(load("is_logits")["logits"], splits=splits, shuffle=shuffle)
    assert result.value == pytest.approx(want["inception_score_mean"], rel=1e-12)
    assert result.details["standard_deviation"] == pytest.approx(want["inception_score_std"], abs=1e-12)


# The reference rounds probabilities p to float32, whose exponent and sum have a relative error of about 1e-7 each, so
# log IS = mean of sum p (log p - log q) is off by some 1e-7 of a sum of |p log p|, which is at most log 1000.
FLOAT32 = 5e-6


def test_inception_score_other_conventions():
    logits, want = load("is_logits")["logits"], expected("is")["expected"]
    for size in (50, 100, 5000):
        score = inception_score(logits, convention="adm", split_size=size).value
        assert score == pytest.approx(want[f"adm_split_size{size}_f32probs"], rel=FLOAT32)
    mean, deviation = want["dgm_eval_splits10_shuffleTrue_seed2020"]
    score = inception_score(logits, convention="dgm-eval")
    assert score.value == pytest.approx(mean, rel=FLOAT32)
    assert score.details["standard_deviation"] == pytest.approx(deviation, rel=FLOAT32, abs=FLOAT32 * mean)
    with pytest.raises(UserError, match="parted"):
        inception_score(logits[:5])


def test_inception_score_survives_saturated_logits():
    one_hot = np.zeros((40, 4))
    one_hot[np.arange(40), np.arange(40) % 4] = 5000.0
    assert inception_score(one_hot, splits=1).value == pytest.approx(4.0, rel=1e-12)


def test_registered_metrics_scale_and_share_resamples(kid):
    a, b = kid[0].astype(np.float64), kid[1].astype(np.float64)
    evidence = Evidence(counts=resample_counts(len(a)), features=a, reference_val=b)
    (kd,) = KernelDistance().measure(evidence)
    plain = kernel_distance(a, b)
    assert kd.metric == "kd_x1000" and kd.value == pytest.approx(1000 * plain.value)
    assert kd.details["standard_error"] == pytest.approx(1000 * plain.details["standard_error"])
    assert [m.metric for m in CMMD().measure(evidence) + InceptionScore().measure(evidence)] == [
        "cmmd",
        "inception_score",
    ]
    with pytest.raises(UserError, match="needs reference_val"):
        KernelDistance().measure(Evidence(counts=resample_counts(9), features=a))
