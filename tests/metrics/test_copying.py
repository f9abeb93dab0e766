"""Copies among samples: by the definition, on laws where the answer is known, and with intervals that hold."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from drlbench.errors import UserError
from drlbench.metrics import Evidence, resample_counts
from drlbench.metrics.copying import Copying, copies
from drlbench.metrics.neighbours import Points, closest


def draw(seed: int, n: int, d: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d))


def test_both_are_the_definitions() -> None:
    train, heldout = draw(0, 90), draw(1, 40)
    x = np.concatenate([draw(2, 50), train[:20] + 1e-3, heldout[:5]])
    to_train, own = cdist(x, train), cdist(train, train) + np.diag(np.full(90, np.inf))
    expected = np.mean([row.min() < own[row.argmin()].min() for row in to_train])
    unseen = cdist(heldout, train).min(1)
    d = to_train.min(1)
    nearer = np.mean([(a < b) + 0.5 * (a == b) for a in d for b in unseen])
    found = copies(x, train, heldout)
    assert found.copied.value == pytest.approx(expected)
    assert found.nearer.value == pytest.approx(nearer)
    rows = cdist(heldout, train)
    assert found.copied.details["reference"] == pytest.approx(np.mean([r.min() < own[r.argmin()].min() for r in rows]))


def test_the_nearest_is_found_exactly_far_from_the_origin() -> None:
    x, y = draw(3, 60) + 1e4, draw(4, 80) + 1e4
    index, square = closest(Points(x, y.mean(0)), Points(y, y.mean(0)))
    expected = cdist(x, y)
    assert index.tolist() == expected.argmin(1).tolist()
    assert np.sqrt(square) == pytest.approx(expected.min(1), rel=1e-6)


def test_fresh_draws_copy_as_much_as_held_out_ones_and_copies_more() -> None:
    train, heldout = draw(0, 800), draw(1, 800)
    fresh = copies(draw(2, 800), train, heldout)
    assert fresh.nearer.value == pytest.approx(0.5, abs=0.05)
    assert fresh.copied.value == pytest.approx(fresh.copied.details["reference"], abs=0.06)
    half = np.concatenate([draw(2, 400), train[:400] + 1e-6])
    found = copies(half, train, heldout)
    assert found.nearer.value == pytest.approx(0.75, abs=0.05)
    assert found.copied.value > fresh.copied.value + 0.2


def test_intervals_hold_for_fixed_real_images() -> None:
    train, heldout, counts = draw(0, 200), draw(1, 200), resample_counts(300, 200)
    truth = copies(draw(9, 40000), train, heldout, resamples=0)
    held = np.zeros(2)
    for seed in range(100, 250):
        found = copies(draw(seed, 300), train, heldout, counts=counts)
        held += [m.low <= t.value <= m.high for m, t in zip(found, truth, strict=True)]
    assert (held / 150 > 0.88).all(), held / 150


def test_moments_have_no_images_to_be_near_to() -> None:
    evidence = Evidence(resample_counts(5, 20), draw(0, 5), reference=object(), reference_val=draw(1, 5))
    with pytest.raises(UserError, match="moments alone"):
        Copying().measure(evidence)
