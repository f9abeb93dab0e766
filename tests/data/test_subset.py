"""A part of a labelled set: even over classes, the same for everybody, nested."""

from __future__ import annotations

import numpy as np
import pytest

from drlbench.data.subset import evenly

LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(4), [30, 20, 10, 3]))


@pytest.mark.parametrize("count", [1, 4, 7, 12, 40, 63])
def test_classes_come_as_equally_often_as_they_allow(count: int) -> None:
    rows = evenly(LABELS, count)
    assert len(rows) == len(set(rows.tolist())) == count and (np.diff(rows) > 0).all()
    counts = np.bincount(LABELS[rows], minlength=4)
    sizes = np.bincount(LABELS)
    for a in range(4):
        for b in range(4):
            assert counts[a] >= min(counts[b] - 1, sizes[a])
    assert set(rows) <= set(evenly(LABELS, min(count + 9, 63)))


def test_no_limit_or_a_large_one_is_everything() -> None:
    for count in (None, 63, 1000):
        assert (evenly(LABELS, count) == np.arange(63)).all()
