"""FDr over a cell's spaces."""

from __future__ import annotations

import numpy as np
import pytest

from drlbench.metrics.signature import make_signature, read_signature
from drlbench.run.across import Found, mean_ratios
from drlbench.run.reading import Score


def one(space: str, value: float, draws: np.ndarray | None) -> Found:
    mark = make_signature("fdr", {"enc": f"net:{space}", "ref": "digits:12", "n": 100})
    return Score(metric="fdr", value=value, low=None, high=None, n=100, better="lower"), mark, draws


def test_the_mean_of_ratios_is_paired_over_spaces() -> None:
    common = np.random.default_rng(0).normal(size=500)
    found = {"a": one("a", 2.0, 2.0 + common), "b": one("b", 4.0, 4.0 - common), "c": one("c", 9.0, 9.0 + common)}
    (every, mark, draws), (held_out, _, _) = mean_ratios(found, {"c"})
    assert (every.metric, every.value, every.n) == ("fdr_mean", 5.0, 100)
    assert every.high is not None
    assert every.high - 5.0 == pytest.approx(1.96 * common.std(ddof=1) / 3, rel=1e-3)
    assert draws is not None
    # What the two have in common goes opposite ways, and leaves nothing.
    assert (held_out.metric, held_out.value) == ("fdr_mean_held_out", 3.0)
    assert held_out.low == pytest.approx(3.0, abs=1e-9)
    parts = read_signature(mark)
    assert parts["enc"] == "net:a+net:b+net:c"
    assert (parts["ref"], parts["n"]) == ("digits:12", "100")


def test_one_space_has_no_mean_and_lost_replicates_no_interval() -> None:
    assert not list(mean_ratios({"a": one("a", 2.0, None)}, set()))
    found = {"a": one("a", 2.0, None), "b": one("b", 4.0, np.ones(3))}
    ((score, _, draws),) = mean_ratios(found, set())
    assert (score.value, score.low, draws) == (3.0, None, None)
