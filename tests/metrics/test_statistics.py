"""Image statistics against golden values and the formulas written out, and preference differences."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from drlbench.errors import UserError
from drlbench.metrics import Evidence, image_statistics, resample_counts
from drlbench.metrics.bootstrap import quantiles
from drlbench.metrics.preference import mean_score
from drlbench.metrics.statistics import COLOUR, GREY, ImageStatistics, first_of_each_class, subset_statistics

GOLDEN = Path(__file__).parents[1] / "golden" / "metrics"
EXPECTED = json.loads((GOLDEN / "artefact_expected.json").read_text())["expected"]


def by_the_formulas(image):
    rgb = image.astype(np.float64) / 255
    red, green, blue = np.moveaxis(rgb, -1, 0)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    top, bottom = rgb.max(-1), rgb.min(-1)
    rg, yb = red - green, (red + green) / 2 - blue
    return {
        "brightness": luma.mean(),
        "saturation": np.where(top > 0, (top - bottom) / np.where(top > 0, top, 1), 0).mean(),
        "contrast": luma.std(),
        "colourfulness": np.hypot(rg.std(), yb.std()) + 0.3 * np.hypot(rg.mean(), yb.mean()),
        "whiteness": bottom.mean(),
    }


def test_a_subset_is_the_first_of_each_class_and_the_same_of_every_checkpoint():
    rng = np.random.default_rng(0)
    labels = np.concatenate([np.arange(10), rng.integers(0, 10, 70), np.arange(10), np.arange(10)])
    images = rng.integers(0, 256, (len(labels), 4, 4, 3), dtype=np.uint8)
    by_hand = sorted(i for c in range(10) for i in [i for i, label in enumerate(labels) if label == c][:3])
    assert first_of_each_class(labels, 3).tolist() == by_hand and len(by_hand) == 30
    found = {m.metric: m for m in subset_statistics(images, labels, 3, 10, 50)}
    assert list(found) == [f"{name}_subset" for name in COLOUR]
    for name, values in image_statistics(images).items():
        one, chosen = found[f"{name}_subset"], values[by_hand]
        assert one.value == pytest.approx(chosen.mean(), rel=1e-12) and one.value != values.mean()
        _, above = quantiles(chosen - chosen.mean())
        assert one.high - one.value == pytest.approx(above * chosen.std(ddof=1) / 30**0.5, rel=1e-9)
        assert one.n == 30 and one.better == "closer" and not one.notes
    # Paired: another checkpoint's replicates resample the same places, so that a constant gap has no noise.
    darker = {m.metric: m for m in subset_statistics(images // 2, labels, 3, 10, 50)}
    half = {m.metric: m for m in subset_statistics(images // 2 * 2, labels, 3, 10, 50)}
    np.testing.assert_allclose(
        2 * darker["brightness_subset"].replicates, half["brightness_subset"].replicates, rtol=1e-12
    )


def test_a_class_with_fewer_is_said():
    images = np.zeros((5, 2, 2, 1), np.uint8)
    (brightness, _) = subset_statistics(images, np.array([0, 0, 0, 0, 1]), 3, 2, 20)
    assert brightness.n == 4 and "not every one of 2 classes has 3" in brightness.notes[0]


@pytest.mark.parametrize("name", list(EXPECTED))
def test_golden(name):
    with np.load(GOLDEN / "images_uint8.npz") as file:
        image = file[name]
    found, want = image_statistics(image[None]), EXPECTED[name]
    assert found["brightness"][0] == pytest.approx(want["brightness_rec601_mean"], abs=1e-12)
    assert found["saturation"][0] == pytest.approx(want["hsv_saturation_mean"], abs=1e-12)
    assert 255 * found["colourfulness"][0] == pytest.approx(want["colorfulness_hasler(0-255)"], abs=1e-10)
    for key, value in by_the_formulas(image).items():
        assert found[key][0] == pytest.approx(value, abs=1e-12), key


def test_blocks_extremes_and_order(monkeypatch):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (7, 9, 5, 3), dtype=np.uint8)
    images[1], images[2], images[3] = 0, 255, [255, 0, 0]
    whole = image_statistics(images)
    monkeypatch.setattr("drlbench.metrics.statistics.BLOCK_PIXELS", 90)
    parts = image_statistics(images)
    for i, image in enumerate(images):
        for key, value in by_the_formulas(image).items():
            assert whole[key][i] == pytest.approx(value, abs=1e-7), (key, i)
            assert parts[key][i] == pytest.approx(whole[key][i], abs=1e-12)
    assert list(whole) == list(COLOUR)


def test_grey_images_get_what_means_something():
    images = np.random.default_rng(1).integers(0, 256, (4, 8, 8, 1), dtype=np.uint8)
    found = image_statistics(images)
    assert list(found) == list(GREY)
    np.testing.assert_allclose(found["brightness"], images.mean((1, 2, 3)) / 255, rtol=1e-12)
    np.testing.assert_allclose(found["contrast"], (images / 255).std((1, 2, 3)), rtol=1e-10)


def test_metric_gives_drift_from_the_reference():
    rng = np.random.default_rng(2)
    images = rng.integers(0, 256, (30, 8, 8, 3), dtype=np.uint8)
    darker = (images * 0.5).astype(np.uint8)
    found = ImageStatistics().measure(Evidence(counts=resample_counts(30), images=darker, reference_images=images))
    brightness = found[0]
    assert brightness.metric == "brightness" and brightness.better == "closer"
    assert brightness.details["drift"] == pytest.approx(brightness.value - brightness.details["reference"])
    assert brightness.details["drift"] < -0.2
    assert brightness.low < brightness.value < brightness.high


def test_bad_images():
    with pytest.raises(UserError, match="uint8"):
        image_statistics(np.zeros((2, 4, 4, 3), dtype=np.float32))
    with pytest.raises(UserError, match="1 or 3"):
        image_statistics(np.zeros((2, 4, 4, 4), dtype=np.uint8))


def test_scores_that_are_no_number_are_refused():
    with pytest.raises(UserError, match="NaN"):
        mean_score("pickscore", np.array([1.0, np.nan]))
