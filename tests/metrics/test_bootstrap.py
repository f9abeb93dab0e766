"""What the intervals rest on."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from drlbench.metrics.bootstrap import wilson


@pytest.mark.parametrize(("successes", "n"), [(0, 100), (3, 7), (59, 60), (60, 60)])
def test_wilsons_interval_is_scipys(successes: int, n: int) -> None:
    ends = binomtest(successes, n).proportion_ci(0.95, method="wilson")
    assert wilson(successes, n) == pytest.approx((ends.low, ends.high), rel=1e-9, abs=1e-12)


def test_no_draws_say_nothing() -> None:
    assert np.isnan(wilson(0, 0)).all()
