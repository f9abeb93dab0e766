"""A sweep of many guidances: what is left to table.csv, and that many estimates at once are those made one by one."""

from __future__ import annotations

import numpy as np
import pytest
from paper_runs import SPACES, cell, row, write_run

from drlbench.frontier.uncertainty import estimate, estimates
from drlbench.report.effects import means
from drlbench.report.summary import summarise, told_guidances


def test_of_a_long_sweep_fronts_are_compared_without_guidance_and_under_the_best(tmp_path):
    sweep = [("none", 1.0), *((f"cfg{s:g}", s) for s in (1.5, 2.0, 3.0, 4.0))]
    cells = [cell("base", None), cell("drl", 1.0), cell("drl", 2.0)]
    rows = [
        row(c, space, "fd", 10.0 + (g[1] - 2.0) ** 2 - 2 * (c["run"] == "drl"), g)
        for c in cells
        for space in SPACES
        for g in sweep
    ]
    reward = {"name": "taste", "kind": "linear"}
    rows += [row(c, "", "taste", 1.0 + (c["lambda"] or 0.0), g) for c in cells for g in sweep]
    run = write_run(tmp_path / "run", cells, rows, [reward])
    assert told_guidances(run) == ("none", "cfg2")
    summary = summarise(run)
    assert {v.guidance for v in summary.volumes} == {"none", "cfg2"}
    few = write_run(tmp_path / "few", cells, [r for r in rows if r.guidance in ("none", "cfg3", "cfg4")], [reward])
    assert {v.guidance for v in summarise(few).volumes} == {"none", "cfg3", "cfg4"}


@pytest.mark.parametrize("seeds", [1, 3])
def test_estimates_at_once_are_those_one_by_one(seeds):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(5, seeds))
    draws = values[..., None] + rng.normal(size=(5, seeds, 60))
    draws[1, 0, 3] = np.nan
    values[2, 0] = np.inf
    for one, found in zip(
        (estimate(v, d) for v, d in zip(values, draws, strict=True)), estimates(values, draws), strict=True
    ):
        np.testing.assert_array_equal(list(vars(one).values()), list(vars(found).values()))
    whole = rng.normal(size=(1, 60))
    low, high = np.percentile(whole - whole.mean() + 2.0, [2.5, 97.5])
    assert estimate(np.array([2.0]), whole).low == pytest.approx(low) and estimate(
        np.array([2.0]), whole
    ).high == pytest.approx(high)


def test_means_of_samples_of_different_shapes_keep_their_order():
    rng = np.random.default_rng(1)
    samples = [(rng.normal(size=s), rng.normal(size=(s, r))) for s, r in ((1, 40), (2, 40), (1, 40), (0, 0), (2, 0))]
    expected = [estimate(*sample) for sample in samples]
    for one, found in zip(expected, means(samples), strict=True):
        np.testing.assert_array_equal(list(vars(one).values()), list(vars(found).values()))
