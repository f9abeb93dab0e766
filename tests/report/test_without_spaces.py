"""A run whose disk was full before anything was measured in a space: figures are left out, and none fails."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from drlbench.report.figures import pictures
from drlbench.report.rundata import read_run


def test_figures_of_distances_are_left_out_where_none_was_measured(run_dir: Path) -> None:
    whole = read_run(run_dir)
    run = replace(whole, rows=[row for row in whole.rows if not row.space])
    assert run.rows and not run.spaces
    drawn, all_of_them = ({p.name for p in pictures(r)} for r in (run, whole))
    assert drawn < all_of_them
    assert not any("fd" in name for name in drawn)
