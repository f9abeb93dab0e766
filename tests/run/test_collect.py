"""Finished stages to a run's folder: every number once; what is missing or damaged leaves a gap, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from least_run import Least
from PIL import Image

from drlbench.report.results import Row, read_results
from drlbench.run.collect import collect
from drlbench.run.grids import GAP, GAP_GREY, TILE_PIXELS, draw_grid
from drlbench.run.reading import Reader

DRL = "sit/drl/lambda=1/seed=0.0"


def written(least: Least, folder: Path) -> tuple[dict[str, Any], list[Row], Reader]:
    folder.mkdir()
    reader = Reader(least.store)
    return collect(least.plan, reader, folder), read_results(folder / "results.csv"), reader


def names(rows: list[Row]) -> list[tuple[Any, ...]]:
    return [(row.run, row.lambda_, row.space, row.metric) for row in rows]


def statuses(record: dict[str, Any]) -> dict[str, str]:
    return {cell["id"]: cell["status"] for cell in record["cells"]}


def test_every_number_is_there_once_with_its_replicates(least: Least, tmp_path: Path) -> None:
    record, rows, reader = written(least, tmp_path / "run")
    assert not reader.damaged
    found = names(rows)
    assert len(set(found)) == len(found)
    for run, lambda_ in (("base", None), ("drl", 1.0), ("drl", 2.0)):
        assert (run, lambda_, "pixels", "fd") in found
    of_data = [row for row in rows if row.run == "data"]
    assert {row.metric for row in of_data if row.space} == {"fd"}, "the reference of other distances are these images"
    assert any(not row.space for row in of_data), "image statistics"
    for metric in ("kl_nats", "velocity_norm_ratio"):
        assert {(row.run, row.lambda_) for row in rows if row.metric == metric} == {("drl", 1.0), ("drl", 2.0)}
    with np.load(tmp_path / "run" / "replicates.npz") as kept:
        assert kept[f"{DRL}|none|pixels|fd"].shape == (20,)
        assert {key.split("|")[0] for key in kept} == {"data", *statuses(record)}
    assert set(statuses(record).values()) == {"ok"}
    assert record["results"]["rows"] == len(rows)


def test_curves_and_grids_are_those_of_the_cell(least: Least, tmp_path: Path) -> None:
    record, _, _ = written(least, tmp_path / "run")
    curves = json.loads((tmp_path / "run" / "curves.json").read_text())
    assert [(part["round"], part["kind"]) for part in curves[DRL]] == [(1, "discriminator"), (1, "finetune")]
    assert curves["sit/base/seed=0.0"] == []
    assert len(curves[DRL][1]["step"]) == len(curves[DRL][1]["series"]["loss"]) == 3
    (drl,) = (cell for cell in record["cells"] if cell["id"] == DRL)
    with np.load(
        least.store.folder("samples", least.cell("drl", 1.0).measured["none"].samples.key) / "samples.npz"
    ) as kept:
        wanted = draw_grid(kept["images"], kept["labels"], 10, least.plan.spec.grid.columns)
    with Image.open(tmp_path / "run" / drl["grids"]["none"]) as picture:
        assert np.array_equal(np.asarray(picture), np.asarray(wanted))


def test_a_stage_that_was_not_made_is_a_gap(least: Least, tmp_path: Path) -> None:
    _, all_rows, _ = written(least, tmp_path / "whole")
    scores = least.cell("drl", 2.0).measured["none"].scores["pixels"]
    least.store.discard(least.store.folder(scores.kind, scores.key))
    record, rows, reader = written(least, tmp_path / "run")
    assert not reader.damaged, "what was never made is not damaged"
    assert statuses(record) == {"sit/base/seed=0.0": "ok", DRL: "ok", "sit/drl/lambda=2/seed=0.0": "missing"}
    gone = [row for row in all_rows if row not in rows]
    assert rows == [row for row in all_rows if row not in gone], "all others are as they were"
    assert set(names(gone)) == {("drl", 2.0, "pixels", metric) for metric in ("fd", "fd_val", "fdr")}
    with np.load(tmp_path / "run" / "replicates.npz") as kept:
        assert "sit/drl/lambda=2/seed=0.0|none|pixels|fd" not in kept


@pytest.mark.parametrize("name", ["rows.json", "replicates.npz"])
def test_no_number_of_a_damaged_stage_is_written(least: Least, tmp_path: Path, name: str) -> None:
    scores = least.cell("drl", 1.0).measured["none"].scores["pixels"]
    least.damage(scores, name)
    record, rows, reader = written(least, tmp_path / "run")
    assert list(reader.damaged) == [scores.key] and name in reader.damaged[scores.key]
    assert statuses(record)[DRL] == "missing"
    assert ("drl", 1.0, "pixels", "fd") not in names(rows) and ("drl", 2.0, "pixels", "fd") in names(rows)


def test_damaged_samples_are_not_drawn(least: Least, tmp_path: Path) -> None:
    samples = least.cell("base").measured["none"].samples
    least.damage(samples, "samples.npz")
    record, _, reader = written(least, tmp_path / "run")
    assert list(reader.damaged) == [samples.key]
    grids = {cell["id"]: cell["grids"] for cell in record["cells"]}
    assert grids["sit/base/seed=0.0"] == {} and grids[DRL]
    assert len(list((tmp_path / "run" / "samples").iterdir())) == 2


def test_a_grid_has_a_row_a_class_and_a_column_a_seed() -> None:
    images = np.arange(1, 7, dtype=np.uint8)[:, None, None, None] * np.ones((1, 30, 30, 1), np.uint8)
    labels = np.array([1, 0, 1, 0, 1, 1])
    grid = np.asarray(draw_grid(images, labels, classes=2, columns=3))
    assert grid.shape == (2 * 30 + GAP, 3 * 30 + 2 * GAP)
    tiles = [[int(grid[r * (30 + GAP), c * (30 + GAP)]) for c in range(3)] for r in range(2)]
    assert tiles == [[2, 4, GAP_GREY], [1, 3, 5]]
    assert (grid[30 : 30 + GAP] == GAP_GREY).all() and (grid[:, 30 : 30 + GAP] == GAP_GREY).all()


def test_small_images_are_enlarged_by_whole_pixels() -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 3), dtype=np.uint8)
    grid = np.asarray(draw_grid(image, np.zeros(1, int), classes=1, columns=1))
    factor = TILE_PIXELS // 8
    assert grid.shape == (TILE_PIXELS, TILE_PIXELS, 3)
    assert np.array_equal(grid[::factor, ::factor], image[0]) and np.array_equal(grid[1::factor, 1::factor], image[0])
