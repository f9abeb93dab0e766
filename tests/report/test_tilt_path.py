"""The exact optimum's path over lambda: values, what it is left out of, and that page and figure draw it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from matplotlib.figure import Figure

from drlbench.report.figures.frontier import draw_front
from drlbench.report.fronts import Axis
from drlbench.report.page_data import page_axes, page_data
from drlbench.report.rundata import RunData, read_run
from drlbench.report.summary import all_fronts, summarise
from drlbench.report.tilt_path import tilt_path

FD, TASTE = Axis("fd", "classifier", "lower", "fd"), Axis("taste", "", "higher", "reward")
KL = Axis("kl_nats", "", "lower", "kl")


@pytest.fixture(scope="module")
def run(run_dir) -> RunData:
    """The made-up run with a tilt beside `base+prl` and `drl+prl` at two of three lambdas."""
    found = read_run(run_dir)
    rows = list(found.rows)
    for row in found.rows:
        if (row.backbone, row.guidance, row.metric) != ("small", "none", "taste") or row.lambda_ not in (0.25, 1.0):
            continue
        if row.run in ("base+prl", "drl+prl"):
            for space, metric, value in (("classifier", "fd", 2.0), ("", "taste", -9.0), ("", "kl_nats", 0.5)):
                rows.append(replace(row, space=space, metric=f"tilt_{metric}", value=value * row.lambda_))
            rows.append(replace(row, metric="tilt_effective_share", value=0.5, n=row.n))
    record = found.record.model_copy(
        update={
            "cells": tuple(
                c.model_copy(update={"start": f"small/drl/lambda=1/seed={c.seed}"}) if c.run == "drl+prl" else c
                for c in found.record.cells
            )
        }
    )
    return replace(found, rows=tuple(rows), record=record)


def test_the_path_is_in_the_order_of_lambda_and_one_for_all_seeds(run: RunData) -> None:
    assert tilt_path(run, "small", "base+prl", FD, TASTE) == [(0.25, 0.5, -2.25), (1.0, 2.0, -9.0)]
    assert tilt_path(run, "large", "base+prl", FD, TASTE) == []
    assert tilt_path(run, "small", "base+prl", Axis("contrast", "", "closer", "drift"), TASTE) == []


def test_a_distance_of_too_few_effective_samples_is_not_drawn_beside_a_cells(run: RunData) -> None:
    """At lambda 1 the tilt rests on a fifth as many as a cell has; its mean reward is as good as its interval says."""
    few = {r: replace(r, value=0.2) for r in run.rows if r.metric == "tilt_effective_share" and r.lambda_ == 1.0}
    thin = replace(run, rows=tuple(few.get(row, row) for row in run.rows))
    assert tilt_path(thin, "small", "base+prl", FD, TASTE) == [(0.25, 0.5, -2.25)]
    assert len(tilt_path(thin, "small", "base+prl", KL, TASTE)) == 2


def test_a_kl_from_another_runs_model_is_not_one_from_the_base(run: RunData) -> None:
    assert tilt_path(run, "small", "base+prl", KL, TASTE) == [(0.25, 0.125, -2.25), (1.0, 0.5, -9.0)]
    assert tilt_path(run, "small", "drl+prl", KL, TASTE) == []
    assert len(tilt_path(run, "small", "drl+prl", FD, TASTE)) == 2


def test_the_page_has_it_as_a_path_and_not_as_axes(run: RunData) -> None:
    assert not [a.key for a in page_axes(run) if a.metric.startswith("tilt_")]
    families = {(f["backbone"], f["run"]): f for f in page_data(run, summarise(run))[0]["families"]}
    assert [p["lambda"] for p in families["small", "base+prl"]["tilt"]] == [0.25, 1.0]
    assert families["small", "base+prl"]["tilt"][1]["at"][FD.key] == 2.0
    assert families["small", "sft"]["tilt"] == []


def test_the_figure_draws_it_dotted_with_hollow_marks(run: RunData) -> None:
    panel = Figure().subplots()
    draw_front(run, panel, all_fronts(run, "small", "none", FD, TASTE), FD, TASTE)
    hollow = [line for line in panel.lines if line.get_markerfacecolor() == "none"]
    assert [list(line.get_xdata()) for line in hollow] == [[0.5, 2.0], [0.5, 2.0]]
