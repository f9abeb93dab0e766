"""Two ranks over gloo give the losses of one rank, for every algorithm that runs on several."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from golden_runs import SETTINGS, rows

RUNS = [run for run in SETTINGS if not run.startswith("flow-grpo")]


def test_two_ranks_give_the_losses_of_one(tmp_path: Path) -> None:
    worker = Path(__file__).with_name("rank_worker.py")
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    started = [
        subprocess.Popen(
            [sys.executable, str(worker), ",".join(RUNS), str(rank), "2", str(tmp_path)],
            env=env,
            stderr=subprocess.PIPE,
        )
        for rank in range(2)
    ]
    for process in started:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors.decode()
    found = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2)]
    for run in RUNS:
        alone = rows(run, 10)
        assert found[0][run]["weights"] == pytest.approx(found[1][run]["weights"], rel=1e-7)
        for rank in range(2):
            for mine, theirs in zip(alone, found[rank][run]["rows"], strict=True):
                for name, value in mine.items():
                    assert theirs[name] == pytest.approx(value, rel=1e-3, abs=1e-5), (run, name)
