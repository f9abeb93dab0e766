"""FSDP2 and torch.compile together: two gloo ranks of a tiny SiT give the losses of one rank with neither."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from compiled_rank_worker import RUNS, UPDATES, build

from drlbench.finetune.train import train

pytestmark = pytest.mark.long  # compiling takes a minute of processor time where nothing is cached

# The order of sums differs (1e-7 here); bf16 rounds other partial sums in compiled code.
TOLERANCE = {"fp32": 1e-4, "bf16": 2e-2}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    place = tmp_path_factory.mktemp("ranks")
    worker = Path(__file__).with_name("compiled_rank_worker.py")
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    started = [
        subprocess.Popen([sys.executable, str(worker), str(rank), "2", str(place)], env=env, stderr=subprocess.PIPE)
        for rank in range(2)
    ]
    for process in started:
        _, errors = process.communicate(timeout=900)
        assert process.returncode == 0, errors.decode()
    return [json.loads((place / f"rank{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.parametrize("name", RUNS)
def test_losses_are_those_of_one_plain_rank(found: list[dict[str, Any]], name: str) -> None:
    precision = str(RUNS[name].get("precision", "fp32"))
    alone = train(build(precision=precision), UPDATES)
    for rank in range(2):
        for mine, theirs in zip(found[rank][name]["rows"], alone, strict=True):
            for key in ("loss", "gradient_norm", "reward", "reward_gradient", "threshold", "masked"):
                assert mine[key] == pytest.approx(theirs[key], rel=TOLERANCE[precision], abs=1e-6), (name, key, rank)
    assert any(row["masked"] > 0 for row in alone)


@pytest.mark.parametrize("name", RUNS)
def test_both_are_at_work(found: list[dict[str, Any]], name: str) -> None:
    """Weights are shared out and end the same on both ranks; blocks are compiled, once for all, without a break."""
    one, other = (found[rank][name] for rank in range(2))
    assert one["held"] + other["held"] == one["whole"] and one["held"] < 0.6 * one["whole"]
    assert one["weights"] == other["weights"]
    assert 0 < one["pieces"] <= 4, "three blocks, one piece for each kind of gradient"
    assert one["breaks"] == 0
