"""The fine-tune stage: what it is watched by, and what stays as it was when it is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from drlbench import pipeline
from drlbench.data.sources import fingerprint
from drlbench.errors import UserError
from drlbench.executors.local import Node
from drlbench.pipeline import Plan
from drlbench.stages import Job, stage_function
from drlbench.suite.load import load_suite

SUITE = """
suite: watched
data: {kind: digits}
encoders:
  pixels: {kind: pixels}
  dae: {kind: small-dae, steps: 5, width: 8, features: 8}
spaces: [pixels, dae]
backbones:
  sit:
    family: sit
    architecture:
      {input_size: 8, patch_size: 4, in_channels: 1, hidden_size: 16, depth: 1, num_heads: 2, num_classes: 10,
       learn_sigma: false}
    pretrain: {steps: 40, batch: 32}
rewards:
  bold: {kind: bradley-terry, seed: 5, count: 200, network: mlp, width: 8, steps: 40}
  bold-held-out: {kind: bradley-terry, seed: 6, count: 200, network: mlp, width: 12, steps: 40}
algorithms:
  am: {kind: adjoint-matching, updates: 6, steps: 4, buffer: 16, batch: 16, passes: 1, learning_rate: 1e-2, warmup: 0}
runs:
  base: {}
  prl: {reward: bold, algorithm: am, lambda: [1]}
sampling: {sampler: euler, steps: 4, n: 40}
metrics: [fd]
preferences: [bold, bold-held-out]
"""


def laid_out(folder: Path, *overrides: str) -> Plan:
    path = folder / "suite.yaml"
    path.write_text(SUITE)
    spec = load_suite(path, overrides).spec
    data = {"kind": "digits"}
    return pipeline.plan(spec, {**data, "fingerprint": fingerprint(data)})


def tuned(plan: Plan) -> Node:
    return next(n for n in plan.nodes.values() if n.kind == "finetune")


def make(plan: Plan, key: str, folder: Path, **job: Any) -> Path:
    """Run a stage and those it needs, in this process; finished ones are not run again."""
    out, node = folder / key, plan.nodes[key]
    if not out.exists():
        inputs = {name: make(plan, k, folder) for name, (_, k) in node.inputs.items()}
        out.mkdir()
        stage_function(node.kind)(
            Job(node.settings, inputs, out, folder / f"partial-{key}", "cpu", lambda _: None, **job)
        )
    return out


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


def test_held_out_measures_join_the_curve(store: Path, tmp_path: Path) -> None:
    plan = laid_out(tmp_path, "algorithms.am.watch={every: 2, n: 40}")
    assert tuned(plan).settings["watch"]["rewards"] == ["bold-held-out"], "bold is optimised"
    curve = json.loads((make(plan, tuned(plan).key, store) / "curve.json").read_text())
    assert curve["step"] == [1, 2, 3, 4, 5, 6]
    for name in ("bold-held-out", "fd/pixels", "fd/dae"):
        values, errors = curve["series"][f"held_out/{name}"], curve["series"][f"held_out/{name}/error"]
        assert [v is not None for v in values] == [False, True] * 3, name
        assert all(e > 0 for e in errors if e is not None), name
        assert len({v for v in values if v is not None}) == 3, "the model changes"


def test_a_watched_run_is_the_same_run(store: Path, tmp_path: Path) -> None:
    plain, watched = laid_out(tmp_path), laid_out(tmp_path, "algorithms.am.watch={every: 2, n: 40}")
    assert "watch" not in tuned(plain).settings
    assert set(tuned(plain).inputs) == {"start", "reward:bold"}
    weights = [(make(plan, tuned(plan).key, store) / "weights.safetensors").read_bytes() for plan in (plain, watched)]
    assert weights[0] == weights[1]
    series = json.loads((store / tuned(plain).key / "curve.json").read_text())["series"]
    assert not any(name.startswith("held_out") for name in series)


def test_the_marker_says_where_and_why(store: Path, tmp_path: Path) -> None:
    """A learning rate that ruins the model: distances are best at the first measurement."""
    plan = laid_out(
        tmp_path,
        "algorithms.am.watch={every: 2, n: 200}",
        "algorithms.am.learning_rate=0.01",
        "algorithms.am.updates=12",
        "runs.prl.lambda=[30]",
    )
    curve = json.loads((make(plan, tuned(plan).key, store) / "curve.json").read_text())
    assert curve["summary"]["stop_at"] == curve["stop"]["at"] == 2
    assert any(line.startswith("held-out fd/pixels: best ") for line in curve["stop"]["why"]), curve["stop"]


def test_nothing_held_out_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"algorithms\.am\.watch: run 'prl' optimises every entry"):
        laid_out(
            tmp_path,
            "algorithms.am.watch={every: 2}",
            "preferences=[bold]",
            "spaces=[dae]",
            "rewards.bold={kind: discriminator, encoders: [dae]}",
        )
