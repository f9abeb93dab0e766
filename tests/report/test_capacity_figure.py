"""Gain against capacity: the points are the run's ratios, at the weights that run.json says."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from drlbench.report.effects import fd_ratio
from drlbench.report.figures.capacity import by_capacity
from drlbench.report.record import RunRecord
from drlbench.report.results import Row
from drlbench.report.rundata import RunData, read_run

COUNTS = {"small": 3000, "middle": 7000, "large": 50000}


@pytest.fixture
def growing(run_dir) -> RunData:
    """The made-up run's first backbone at three sizes, the larger ones' FD a share of the first's."""
    run = read_run(run_dir)
    first, meta = run.backbones[0], run.record.model_dump(by_alias=True)
    rows: list[Row] = []
    cells = []
    for scale, name in enumerate(COUNTS, start=1):
        for row in run.rows:
            if row.backbone == first:
                better = scale if row.metric == "fd" and row.run != "base" else 1
                rows.append(dataclasses.replace(row, backbone=name, value=row.value / better))
        for cell in meta["cells"]:
            if cell["backbone"] == first:
                cells.append({**cell, "backbone": name, "id": cell["id"].replace(first, name, 1)})
    meta["backbones"] = [{"name": n, "family": "sit", "parameters": c} for n, c in COUNTS.items()]
    meta["cells"] = cells
    return dataclasses.replace(run, record=RunRecord.model_validate(meta), rows=rows)


def test_a_family_in_one_size_is_not_drawn(run_dir):
    assert by_capacity(read_run(run_dir), "none") == []


def test_points_are_the_ratios_at_the_bases_weights(growing):
    (picture,) = by_capacity(growing, "none")
    assert picture.name == "capacity_sit"
    axes = picture.figure.axes[0]
    expected = [
        (c, fd_ratio(growing, n, "sft", None, "none", growing.spaces[0]).estimate.value) for n, c in COUNTS.items()
    ]
    assert expected[2][1] > expected[0][1]
    paths = [line.get_xydata() for line in axes.lines]
    assert any(path.shape == (3, 2) and np.allclose(path, expected) for path in paths)


def test_a_backbone_of_a_size_that_is_drawn_is_named_instead(growing):
    twin = growing.record.backbones[1].model_copy(update={"name": "twin"})
    rows = [*growing.rows, *(dataclasses.replace(r, backbone="twin") for r in growing.rows if r.backbone == "middle")]
    record = growing.record.model_copy(update={"backbones": (*growing.record.backbones, twin)})
    (plain,), (picture,) = (
        by_capacity(run, "none") for run in (growing, dataclasses.replace(growing, record=record, rows=rows))
    )
    said = [" ".join(" ".join(t.get_text() for t in p.figure.texts).split()) for p in (plain, picture)]
    assert "Not drawn" not in said[0]
    assert "Not drawn: twin (as large as middle)." in said[1]


def test_the_optimums_gain_is_drawn_dotted(growing):
    rows = list(growing.rows)
    for row in growing.rows:
        if (row.run, row.guidance, row.metric, row.lambda_) == ("drl", "none", "fd", 1.0):
            rows.append(dataclasses.replace(row, metric="tilt_fd_gain", value=COUNTS[row.backbone] / 1000))
    (picture,) = by_capacity(dataclasses.replace(growing, rows=rows), "none")
    dotted = [line.get_xydata() for line in picture.figure.axes[0].lines if line.get_linestyle() == ":"]
    assert [np.allclose(path, [(c, c / 1000) for c in COUNTS.values()]) for path in dotted] == [True]
