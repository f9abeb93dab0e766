"""Image statistics against golden values and the formulas written out, and preference differences."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from drlbench.errors import UserError
from drlbench.metrics import Evidence, image_statistics, resample_counts
from drlbench.metrics.preference import mean_score
from drlbench.metrics.statistics import COLOUR, GREY, ImageStatistics

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
