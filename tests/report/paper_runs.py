"""Small made-up runs of the paper's own suites: only what their figures read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from drlbench.report.results import Row, write_results
from drlbench.report.rundata import RunData, read_run

SPACES = ("classifier", "pixels")


def cell(run: str, lambda_: float | None = 1.0, **facts: Any) -> dict[str, Any]:
    """run.json's record of one cell of the backbone `net`."""
    weight = "" if lambda_ is None else f"/lambda={lambda_:g}"
    return {
        "id": f"net/{run}{weight}/seed=0.0",
        "run": run,
        "lambda": lambda_,
        "optimised": [],
        "status": "ok",
        **facts,
    }


def row(
    of: Mapping[str, Any], space: str, metric: str, value: float, guidance: tuple[str, float] = ("none", 1.0)
) -> Row:
    """One number with an interval of 5 % either side."""
    at = ("paper", "net", of["run"], "", "", of["lambda"], "0.0", guidance[0], guidance[1], 0.0, 1.0)
    return Row(*at, space, metric, value, 0.95 * value, 1.05 * value, 100, "lower", "sig")


def floor(space: str, value: float) -> Row:
    """The held-out images' own FD."""
    at = ("paper", "", "data", "", "", None, "", "none", 1.0, 0.0, 1.0)
    return Row(*at, space, "fd", value, value, value, 100, "lower", "sig")


def write_run(
    path: Path,
    cells: Iterable[Mapping[str, Any]],
    rows: Iterable[Row],
    rewards: Iterable[Mapping[str, Any]] = (),
    curves: Mapping[str, Any] | None = None,
    **meta: Any,
) -> RunData:
    """A run's folder, read back; replicates are evenly spread over each number's interval."""
    path.mkdir(parents=True, exist_ok=True)
    rows = list(rows)
    draws = {}
    for r in (r for r in rows if r.run != "data"):
        weight = "" if r.lambda_ is None else f"/lambda={r.lambda_:g}"
        name = f"net/{r.run}{weight}/seed=0.0|{r.guidance}|{r.space}|{r.metric}"
        draws[name] = np.linspace(r.low, r.high, 201)
    np.savez(path / "replicates.npz", **draws)
    write_results(path / "results.csv", rows)
    spaces = [{"name": s, "kind": s, "held_out": True} for s in SPACES]
    record = {"schema": 1, "suite": "paper", "cells": list(cells), "spaces": spaces, "rewards": list(rewards), **meta}
    (path / "run.json").write_text(json.dumps(record))
    (path / "curves.json").write_text(json.dumps(curves or {}))
    return read_run(path)
