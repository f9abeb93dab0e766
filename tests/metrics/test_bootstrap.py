"""What the intervals rest on."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.stats import binomtest

from drlbench.metrics.bootstrap import of_mean, quantiles, standard_error, wilson


@pytest.mark.parametrize(("successes", "n"), [(0, 100), (3, 7), (59, 60), (60, 60)])
def test_wilsons_interval_is_scipys(successes: int, n: int) -> None:
    ends = binomtest(successes, n).proportion_ci(0.95, method="wilson")
    assert wilson(successes, n) == pytest.approx((ends.low, ends.high), rel=1e-9, abs=1e-12)


def test_no_draws_say_nothing() -> None:
    assert np.isnan(wilson(0, 0)).all()


def test_a_symmetric_influence_takes_students_t() -> None:
    two = np.tile([1.0, -1.0], 200)  # no tails at all: n degrees of freedom, as of normal values
    assert quantiles(two) == pytest.approx([stats.t.ppf(0.975, 400)] * 2)
    rare = np.zeros(400)
    rare[:4] = [1.0, -1.0, 1.0, -1.0]  # kurtosis 1 / .01 = 100: 2 * 400 / (97 + 2) degrees of freedom
    assert quantiles(rare) == pytest.approx([stats.t.ppf(0.975, 800 / 99)] * 2)
    assert quantiles(np.ones(10)) == (0.0, 0.0)


def test_the_ends_solve_halls_cubic() -> None:
    g = np.random.default_rng(0).exponential(size=60)
    g -= g.mean()
    below, above = quantiles(g)
    assert above > 1.96 > below * 0.9  # the long tail is above
    c = stats.skew(g) / np.sqrt(60)
    t = stats.t.ppf(0.975, 120 / (stats.kurtosis(g) + 2))
    for end, asked in ((below, t), (-above, -t)):
        assert end + c * end**2 / 3 + c**2 * end**3 / 27 + c / 6 == pytest.approx(asked)


def test_means_of_skewed_values_are_held_more_often_than_by_two_standard_errors() -> None:
    rng, counts, truth = np.random.default_rng(1), np.ones((2, 60), dtype=np.int16), np.exp(0.5)
    ours, plain = [], []
    for _ in range(2000):
        x = rng.lognormal(size=60)
        m = of_mean("mean", x, counts, "closer")
        ours.append(m.low <= truth <= m.high)
        plain.append(abs(m.value - truth) <= 1.959964 * standard_error((x - x.mean()) / 60))
    assert np.mean(plain) < 0.92 < np.mean(ours) < 0.97  # .898 and .946 over 20,000 sets
