"""Metrics on arrays by name."""

from __future__ import annotations

import numpy as np
import pytest

import drlbench
from drlbench.errors import UserError
from drlbench.metrics.bootstrap import resample_counts
from drlbench.metrics.frechet import frechet_distance


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(300, 4)), rng.normal(0.5, 1, size=(400, 4))


def test_a_distance_is_what_a_run_would_say(pair: tuple[np.ndarray, np.ndarray]) -> None:
    own, real = pair
    found = {m.metric: m for m in drlbench.measure("fd", features=own, reference=real, reference_val=real)}
    same = frechet_distance(own, real, counts=resample_counts(300))
    assert (found["fd"].value, found["fd"].low, found["fd"].high) == (same.value, same.low, same.high)
    assert found["fd"].value == pytest.approx(4 * 0.25, rel=0.3)


def test_images_by_name_and_another_seed() -> None:
    images = np.random.default_rng(1).integers(0, 256, (50, 8, 8, 3), dtype=np.uint8)
    once, again = (drlbench.measure("stats", images=images, seed=s) for s in (0, 1))
    assert [m.value for m in once] == [m.value for m in again]
    own, other = once[0].replicates, again[0].replicates
    assert own is not None and other is not None and not np.array_equal(own, other)


def test_bad_input_is_said(pair: tuple[np.ndarray, np.ndarray]) -> None:
    own, real = pair
    with pytest.raises(UserError, match=r"unknown metric 'fdd'.*'fd'"):
        drlbench.measure("fdd", features=own)
    with pytest.raises(UserError, match="metric 'stats' measures images: give `images`"):
        drlbench.measure("stats", features=own)
    with pytest.raises(UserError, match="300 features, 5 labels"):
        drlbench.measure("fd", features=own, labels=np.zeros(5, dtype=np.int64), reference=real)
    with pytest.raises(UserError, match="metric 'fd' needs reference"):
        drlbench.measure("fd", features=own)
