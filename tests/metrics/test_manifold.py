"""Precision, recall, density and coverage against their definition, the tools and each other."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drlbench.errors import UserError
from drlbench.metrics import Evidence, class_coverage, density_coverage, precision_recall, resample_counts
from drlbench.metrics.manifold import PRDC
from drlbench.metrics.parts import most_drawn

GOLDEN = Path(__file__).parents[1] / "golden" / "metrics"
EXPECTED = json.loads((GOLDEN / "prdc_expected.json").read_text())["cases"]


def load(name):
    with np.load(GOLDEN / f"{name}.npz") as file:
        return file["x1"].astype(np.float64), file["x2"].astype(np.float64)


def brute_force(generated, reference, k, strict):
    def distances(x, y):
        return ((x[:, None] - y[None]) ** 2).sum(-1)

    def radius(x):
        return np.sort(distances(x, x), axis=1)[:, k]

    d = distances(reference, generated)
    inside = np.less if strict else np.less_equal
    real, fake = inside(d, radius(reference)[:, None]), inside(d, radius(generated)[None])
    return real.any(0).mean(), fake.any(1).mean(), real.sum(0).mean() / k, real.any(1).mean()


def four(generated, reference, k, convention="clovaai"):
    pr = precision_recall(generated, reference, k=k, convention=convention)
    dc = density_coverage(generated, reference, k=k, convention=convention)
    return [m.value for m in (*pr, *dc)]


@pytest.mark.parametrize("name", ["prdc_d64", "prdc_d16_ties"])
@pytest.mark.parametrize("k", [3, 5, 10])
def test_golden(name, k):
    real, fake = load(name)
    want = EXPECTED[name][f"prdc_ref_float64_k{k}"]
    assert four(fake, real, k) == pytest.approx(
        [want[key] for key in ("precision", "recall", "density", "coverage")], abs=1e-12
    )
    pr = precision_recall(fake, real, k=k, convention="adm")
    assert [pr.precision.value, pr.recall.value] == pytest.approx(
        EXPECTED[name][f"adm_evaluator_semantics_float64_k{k}[precision,recall]"], abs=1e-12
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(6, 50), st.integers(6, 50), st.integers(1, 8), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_equals_brute_force_with_many_ties(n, m, d, k, seed):
    """Small whole numbers give many equal distances and duplicates."""
    rng = np.random.default_rng(seed)
    generated, reference = rng.integers(0, 4, (n, d)) + 1000.0, rng.integers(0, 4, (m, d)) + 1000.0
    assert four(generated, reference, k) == pytest.approx(brute_force(generated, reference, k, True), abs=1e-12)
    assert four(generated, reference, k, "adm") == pytest.approx(brute_force(generated, reference, k, False), abs=1e-12)


def test_distances_below_single_precision_are_told_apart():
    """Clusters whose points differ by 1e-6 while the clusters are 100 apart."""
    rng = np.random.default_rng(0)
    centres = 100 * rng.standard_normal((4, 6))
    generated = centres[rng.integers(0, 4, 60)] + 1e-6 * rng.standard_normal((60, 6))
    reference = centres[rng.integers(0, 4, 70)] + 1e-6 * rng.standard_normal((70, 6))
    assert four(generated, reference, 3) == pytest.approx(brute_force(generated, reference, 3, True), abs=1e-12)


def test_blocks_do_not_change_the_answer(monkeypatch):
    real, fake = load("prdc_d64")
    whole = four(fake, real, 5)
    monkeypatch.setattr("drlbench.metrics.neighbours.BLOCK_ELEMENTS", 3000)
    monkeypatch.setattr("drlbench.metrics.neighbours.EXACT_ELEMENTS", 500)  # several blocks of both
    assert four(fake, real, 5) == whole


def test_replicates_are_those_of_complementary_halves():
    """Against a direct recomputation with the halves' samples and the reference's radii."""
    rng = np.random.default_rng(1)
    generated, reference = rng.standard_normal((80, 3)), rng.standard_normal((90, 3))
    counts = resample_counts(80, resamples=40, seed=5)
    dc = density_coverage(generated, reference, k=5, counts=counts)
    d = ((reference[:, None] - generated[None]) ** 2).sum(-1)
    radius = np.sort(((reference[:, None] - reference[None]) ** 2).sum(-1), axis=1)[:, 5]
    inside = d < radius[:, None]
    halves = most_drawn(counts, 0.5)
    apart = np.array([inside[:, h].any(1).mean() - inside[:, ~h].any(1).mean() for h in halves]) / 2
    np.testing.assert_allclose(dc.coverage.replicates, np.clip(dc.coverage.value + apart, 0.0, 1.0))
    assert dc.coverage.value - dc.coverage.low == pytest.approx(1.96 * np.sqrt(np.mean(apart**2)), rel=1e-4)
    np.testing.assert_allclose(dc.density.replicates, (counts @ inside.sum(0)) / 80 / 5)


def test_precision_has_wilsons_interval():
    """All of 60: from n / (n + z²) to 1, where a symmetric interval would have no width."""
    x = np.random.default_rng(2).standard_normal((60, 2))
    precision = precision_recall(x * 1e-3, x, counts=resample_counts(60, 20)).precision
    assert precision.value == precision.high == 1.0
    assert precision.low == pytest.approx(60 / (60 + 1.959964**2), rel=1e-6)


def test_identical_sets_and_swapped_classes():
    rng = np.random.default_rng(2)
    x = rng.standard_normal((120, 4)) + 20 * np.eye(4)[np.arange(120) % 4]
    labels = np.arange(120) % 4
    assert four(x, x, 3)[0] == 1.0
    right = class_coverage(x, labels, x, labels)
    wrong = class_coverage(x, (labels + 1) % 4, x, labels)
    assert right.value == 1.0 and wrong.value == 0.0
    assert density_coverage(x, x).coverage.value == 1.0
    missing = class_coverage(x[labels > 0], labels[labels > 0], x, labels)
    assert missing.value == pytest.approx(0.75)


def test_class_coverage_is_the_mean_of_per_class_coverages():
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((90, 5)), rng.standard_normal((80, 5))
    a, b = np.arange(90) % 3, np.arange(80) % 3
    each = [density_coverage(x[a == c], y[b == c]).coverage.value for c in range(3)]
    result = class_coverage(x, a, y, b)
    assert result.value == pytest.approx(np.mean(each))
    assert result.low <= result.value <= result.high


def test_metric_and_its_messages():
    rng = np.random.default_rng(4)
    x, y = rng.standard_normal((50, 3)), rng.standard_normal((60, 3))
    labels = np.arange(50) % 2
    evidence = Evidence(
        counts=resample_counts(50), features=x, labels=labels, reference_val=y, reference_val_labels=np.arange(60) % 2
    )
    found = {m.metric: m for m in PRDC().measure(evidence)}
    assert list(found) == ["precision", "recall", "density", "coverage", "class_coverage"]
    assert found["precision"].value == precision_recall(x, y, k=3).precision.value
    assert found["coverage"].value == density_coverage(x, y, k=5).coverage.value
    with pytest.raises(UserError, match="k = 5 neighbours need at least 6"):
        density_coverage(x[:5], y)
    with pytest.raises(UserError, match="did you mean 'adm'"):
        precision_recall(x, y, convention="adn")
    with pytest.raises(UserError, match="do not fit"):
        class_coverage(x, labels[:-1], y, np.arange(60) % 2)


def recall_of_part(x, reference, own, k):
    """Recall of the samples `own` alone, by the definition."""
    return brute_force(x[own], reference, k, True)[1]


def test_recalls_replicates_are_those_of_parts_with_radii_of_their_own():
    rng = np.random.default_rng(3)
    x, y, counts = rng.normal(size=(120, 4)), rng.normal(size=(80, 4)) + 0.5, resample_counts(120, 12)
    recall = precision_recall(x, y, counts=counts).recall
    direct = np.array([recall_of_part(x, y, own, 3) for own in most_drawn(counts, 0.6)])
    wider = (direct - direct.mean()) * np.sqrt(72 / 48)  # 72 of 120 are in a part
    assert recall.replicates == pytest.approx(np.clip(recall.value + wider, 0, 1), abs=1e-12)


def test_parts_are_of_the_samples_that_a_resample_draws_most():
    counts = resample_counts(50, 5)
    for row, own in zip(counts, most_drawn(counts, 0.5), strict=True):
        assert own.sum() == 25
        assert row[own].min() >= row[~own].max()
