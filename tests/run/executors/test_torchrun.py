"""`torchrun --nproc-per-node 2 -m drlbench run SUITE` gives the numbers of one process, and ends when a rank fails."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from drlbench.cli.main import app
from drlbench.errors import UserError

ROOT = Path(__file__).resolve().parents[3]
SUITE = ROOT / "tests" / "fault" / "tiny.yaml"
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]


def arguments(store: Path, *overrides: str) -> list[str]:
    given = ["run", str(SUITE), "--cells", "*/drl/lambda=1/*", "--store", str(store), "--out", f"{store}-run"]
    return [*given, *overrides]


def on_ranks(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    command = [*TORCHRUN, "drlbench", *arguments(folder / "two", *overrides)]
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=300, check=False)


def numbers(folder: Path, store: str) -> dict[tuple[str, ...], float]:
    with (folder / f"{store}-run" / "results.csv").open() as lines:
        return {(r["run"], r["space"], r["metric"]): float(r["value"]) for r in csv.DictReader(lines)}


@pytest.mark.usefixtures("in_process")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("sharding", [pytest.param("none", marks=pytest.mark.long), "fsdp"])
def test_two_ranks_make_the_run_of_one(tmp_path: Path, sharding: str) -> None:
    override = ("--set", f"algorithms.am.sharding={sharding}")
    both = on_ranks(tmp_path, *override)
    assert both.returncode == 0, both.stderr
    assert both.stdout.count(f"report: {tmp_path}/two-run/report.html") == 1, "rank 1 is silent"
    alone = CliRunner().invoke(app, arguments(tmp_path / "one", *override))
    assert alone.exit_code == 0, alone.output
    found, wanted = numbers(tmp_path, "two"), numbers(tmp_path, "one")
    assert set(found) == set(wanted)
    for name, value in wanted.items():
        assert found[name] == pytest.approx(value, rel=2e-2, abs=2e-2), name
    made = {p.parent.parent.parent.name for p in (tmp_path / "two").rglob("COMPLETE.json")}
    assert "finetune" in made
    curves = [json.loads((tmp_path / f"{s}-run" / "curves.json").read_text()) for s in ("one", "two")]
    for mine, theirs in zip(*(next(iter(c.values())) for c in curves), strict=True):
        if mine["kind"] == "finetune":
            assert theirs["series"]["loss"] == pytest.approx(mine["series"]["loss"], rel=2e-3)


def test_a_rank_that_cannot_go_on_ends_the_run_with_its_message(tmp_path: Path) -> None:
    done = on_ranks(tmp_path, "--set", "algorithms.am.sharding=fsdp", "--set", "algorithms.am.batch=15")
    assert done.returncode != 0
    assert "batch (15)" in done.stderr


def test_what_torchrun_decides_is_not_given_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="under torchrun leave them out"):
        CliRunner().invoke(app, arguments(tmp_path / "one", "--ranks", "2"), catch_exceptions=False)
