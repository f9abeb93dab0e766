"""Every suite of the paper that a CPU can run, from beginning to end with next to no training, and its figures."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from drlbench.report.figures.paper import draw_paper_figures
from drlbench.report.rundata import read_run
from drlbench.suite.load import load_suite
from drlbench.teachers.digits import draw_digits

ROOT = Path(__file__).resolve().parents[2]
# Suite, and the figures of the paper that its run must draw.
SUITES = {
    "digits-integrator": {"13", "14", "15", "16"},
    "digits-discriminator": {"11", "23"},
    "digits-guidance": {"24", "25"},
    "digits-student": {"10"},
    "digits-distillation": {"4"},
    "toy_shift": {"2"},
    "toy_geometry": {"3"},
}


def shrunk(path: Path) -> list[str]:
    """Overrides that leave every stage in place and take the work out of it."""
    spec = load_suite(path).spec
    given = ["sampling.n=60", "sampling.steps=4", "resamples=20"]
    for name, encoder in spec.encoders.items():
        given += [f"encoders.{name}.steps=10"] if encoder.kind.startswith("small-") else []
    for name, backbone in spec.backbones.items():
        given += [f"backbones.{name}.pretrain.steps=20"] if backbone.pretrain else []
    for name, reward in spec.rewards.items():
        if reward.kind == "discriminator":
            given += [f"rewards.{name}.fakes=100", f"rewards.{name}.steps=5", f"rewards.{name}.batch=64"]
        elif reward.kind == "bradley-terry":
            given += [f"rewards.{name}.count=200", f"rewards.{name}.steps=5"]
    for name, algorithm in spec.algorithms.items():
        given += [f"algorithms.{name}.updates=3", f"algorithms.{name}.batch=16"]
        given += [f"algorithms.{name}.buffer=16"] if algorithm.kind == "adjoint-matching" else []
    for name, run in spec.runs.items():
        given += [f"runs.{name}.teacher.n=60"] if run.teacher else []
    given += ["kl_samples=20"] if spec.kl_samples else []
    given += ["trajectory_samples=20"] if spec.trajectory_samples else []
    return given


@pytest.mark.long
@pytest.mark.parametrize("name", SUITES)
def test_a_suite_of_the_paper_runs_and_its_figures_are_drawn(name, tmp_path):
    suite = ROOT / "suites" / "paper" / f"{name}.yaml"
    overrides = shrunk(suite)
    if load_suite(suite).spec.data.teacher:
        draw_digits(tmp_path / "teacher.npz", 100, 60, updates=5, seed=0)
        overrides.append(f"data.path={tmp_path / 'teacher.npz'}")
    command = [sys.executable, "-m", "drlbench", "run", str(suite), "--workers", "1"]
    command += ["--store", str(tmp_path / "store"), "--out", str(tmp_path / "run")]
    command += [part for o in overrides for part in ("--set", o)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 0, done.stderr[-3000:]
    run = read_run(tmp_path / "run")
    assert run.record.status == "complete" and all(c.status == "ok" for c in run.record.cells)
    drawn = {d.split()[1] for d in draw_paper_figures(run, tmp_path / "figures").drawn}
    assert SUITES[name] <= {number.strip(",") for number in drawn}
