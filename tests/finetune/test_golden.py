"""Twenty pinned updates of every algorithm: the same again, the same from every resume point, the same as ever."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from golden_runs import GOLDEN, SETTINGS, UPDATES, rows, state_after

from drlbench.registry import ALGORITHMS

# Another CPU may sum in another order; a change of the algorithm is far larger.
TOLERANCE = 2e-3


def test_every_registered_algorithm_is_pinned() -> None:
    assert {run.split()[0] for run in SETTINGS} == set(ALGORITHMS.builtin)
    assert set(json.loads(GOLDEN.read_text())) == set(SETTINGS)


@pytest.mark.parametrize("run", list(SETTINGS))
def test_twenty_updates(run: str, tmp_path: Path) -> None:
    first, bits = state_after(run, UPDATES)
    golden = json.loads(GOLDEN.read_text())[run]
    for name, values in golden.items():
        assert [row[name] for row in first] == pytest.approx(values, rel=TOLERANCE, abs=1e-5), name
    unfinished = tmp_path / "unfinished"
    for stop in range(1, UPDATES):
        rows(run, stop, unfinished)  # goes on from the stop before, so each state here has been read back that often
        folder = tmp_path / str(stop)
        shutil.copytree(unfinished, folder)
        resumed, final = state_after(run, UPDATES, folder)
        assert resumed == first, f"resumed after {stop}"
        assert final == bits, f"resumed after {stop}: another state at the end"
