"""Algorithms side by side: the paths in KL and in time are those of the run's numbers."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from drlbench.report.figures import pictures
from drlbench.report.figures.algorithms import algorithms
from drlbench.report.record import RunRecord
from drlbench.report.rundata import RunData, read_run


@pytest.fixture
def rivals(run_dir) -> RunData:
    """The made-up run, as if `drl+prl` had followed its reward by RAM, and all had been watched in one space."""
    run = read_run(run_dir)
    meta = run.record.model_dump(by_alias=True)
    curves = json.loads(json.dumps(run.parts))
    for cell in meta["cells"]:
        cell["training_seconds"] = 20.0
        if cell["run"] == "drl+prl":
            cell["algorithm"] = "ram"
        for part in curves.get(cell["id"], []):
            if part["kind"] == "finetune":
                series = [5.0 - 0.01 * s if s % 25 == 0 else None for s in part["step"]]
                part["series"]["held_out/fd/pixels"] = series
                if cell["run"] == "sft":
                    part["series"]["held_out/fd/classifier"] = series
    return dataclasses.replace(run, record=RunRecord.model_validate(meta), parts=curves)


def test_one_algorithm_alone_is_not_compared(run_dir):
    assert algorithms(read_run(run_dir), "none") == []
    assert not {"fd_kl", "fd_time"} & {p.name for p in pictures(read_run(run_dir))}


def test_a_path_starts_at_the_base_and_goes_through_the_means(rivals):
    (picture,) = [p for p in algorithms(rivals, "none") if p.name == "fd_kl"]
    axes = picture.figure.axes[0]
    backbone, space = rivals.backbones[0], rivals.spaces[0]

    def mean(run: str, lambda_: float | None, space: str, metric: str) -> float:
        rows = [rivals.row(c, "none", space, metric) for c in rivals.seeds(backbone, run, lambda_)]
        return float(np.mean([row.value for row in rows]))

    expected = [(0.0, mean("base", None, space, "fd"))]
    expected += [(mean("drl", v, "", "kl_nats"), mean("drl", v, space, "fd")) for v in (0.5, 1.0, 2.0)]
    paths = [line.get_xydata() for line in axes.lines]
    assert any(path.shape == (4, 2) and np.allclose(path, expected) for path in paths)


def test_time_is_the_cells_seconds_and_spaces_watched_once_are_left_out(rivals):
    (picture,) = [p for p in algorithms(rivals, "none") if p.name == "fd_time"]
    assert [axes.get_title(loc="left") for axes in picture.figure.axes] == [
        f"{b}: FD pixels while training" for b in rivals.backbones
    ]
    path = picture.figure.axes[0].lines[0].get_xydata()
    steps = np.array([0, 25, 50, 75])
    np.testing.assert_allclose(path, np.stack([steps / 95 * 20.0, 5.0 - 0.01 * steps], 1))
