"""Two ranks over gloo give the losses of one rank, for every algorithm, with whole copies and with FSDP2."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from golden_runs import rows
from rank_worker import EXTRA, SHARDED, UPDATES, WHOLE

from drlbench.errors import UserError

Results = list[dict[str, Any]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("ranks")
    worker = Path(__file__).with_name("rank_worker.py")
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    started = [
        subprocess.Popen([sys.executable, str(worker), str(rank), "2", str(place)], env=env, stderr=subprocess.PIPE)
        for rank in range(2)
    ]
    for process in started:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors.decode()
    return place


@pytest.fixture(scope="module")
def found(folder: Path) -> Results:
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(2)]


def compare(found: Results, run: str, sharding: str) -> None:
    alone = rows(run, UPDATES, **EXTRA.get(run, {}))
    name = f"{run}/{sharding}"
    assert found[0][name]["weights"] == pytest.approx(found[1][name]["weights"], rel=1e-7)
    for rank in range(2):
        for mine, theirs in zip(alone, found[rank][name]["rows"], strict=True):
            for key, value in mine.items():
                assert theirs[key] == pytest.approx(value, rel=1e-3, abs=1e-5), (name, key)


@pytest.mark.parametrize("run", WHOLE)
def test_two_ranks_give_the_losses_of_one(found: Results, run: str) -> None:
    compare(found, run, "none")


@pytest.mark.parametrize("run", SHARDED)
def test_two_sharded_ranks_give_the_losses_of_one(found: Results, run: str) -> None:
    compare(found, run, "fsdp")
    whole = found[0][f"{run}/none"]["held"]
    assert found[0][f"{run}/fsdp"]["held"] + found[1][f"{run}/fsdp"]["held"] == whole
    assert found[0][f"{run}/fsdp"]["held"] < 0.6 * whole


@pytest.mark.parametrize("run", ["adjoint-matching", "nft"])
def test_a_resumed_run_on_ranks_is_the_unbroken_one(found: Results, run: str) -> None:
    for rank in range(2):
        assert found[rank][f"{run}/resumed"] == {"same": True, "states": 2}


def test_another_number_of_ranks_is_refused(folder: Path, found: Results) -> None:
    with pytest.raises(UserError, match=r"written on 2 ranks, this is a run on 1; go on with --ranks 2"):
        rows("nft", UPDATES, folder / "nft", sharding="fsdp")


def test_what_cannot_be_sharded_says_so(found: Results) -> None:
    assert "low-rank updates fit on every rank" in found[0]["adjoint-matching euler lora/refused"]
    assert "batch (7) must be a multiple of 2 ranks" in found[1]["sft/refused"]
