"""Autoguidance of a suite: the weaker cell is an input, the samples are those of the mixed velocity, rows say so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from drlbench.errors import UserError
from drlbench.metrics.signature import sampler_part
from drlbench.plan.graph import Plan
from drlbench.plan.pipeline import lay_out
from drlbench.sampling.generate import balanced_labels, generate
from drlbench.sampling.guidance import Autoguidance
from drlbench.seeds import sample_seeds
from drlbench.stages import Job, stage_function
from drlbench.stages.files import load_model
from drlbench.suite.load import load_suite

SUITE = """\
suite: tiny
data: {kind: digits}
encoders: {pix: {kind: pixels}}
backbones: {sit: {family: sit, architecture: {hidden_size: 8, depth: 1, num_heads: 1}, pretrain: {steps: 5}}}
algorithms: {sft: {kind: sft, updates: 9, batch: 16, learning_rate: 1e-2, warmup: 0}}
runs:
  base: {}
  sft: {algorithm: sft}
sampling: {steps: 3, n: 20}
guidance:
  - {name: none}
  - {name: auto2, cfg: 2, guide: {run: base}, runs: [sft]}
metrics: [fd]
"""


def planned(tmp_path: Path, text: str = SUITE) -> Plan:
    (tmp_path / "suite.yaml").write_text(text)
    return lay_out(load_suite(tmp_path / "suite.yaml"))


def make(plan: Plan, key: str, folder: Path) -> Path:
    """Run a stage and those it needs, each once."""
    node, out = plan.nodes[key], folder / key
    if not out.exists():
        inputs = {name: make(plan, k, folder) for name, (_, k) in node.inputs.items()}
        out.mkdir()
        stage_function(node.kind, {})(Job(node.settings, inputs, out, out / "partial", "cpu", lambda _: None))
    return out


def test_the_samples_are_those_of_the_mixed_velocity(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    cells = {c.cell.run: c for c in plan.cells}
    node = cells["sft"].measured["auto2"].samples
    assert node.inputs == {"model": ("finetune", cells["sft"].model.key), "guide": ("base", cells["base"].model.key)}
    assert sampler_part(node.settings) == "heun3-auto2(base)-seed0"
    assert "auto2" not in cells["base"].measured
    plain = cells["sft"].measured["none"].samples
    assert (
        plain.key
        in planned(tmp_path, SUITE.replace("  - {name: auto2, cfg: 2, guide: {run: base}, runs: [sft]}\n", "")).nodes
    )
    model, weak = (load_model(make(plan, k, tmp_path)) for k in (cells["sft"].model.key, cells["base"].model.key))
    by_hand = generate(
        model, balanced_labels(20, 10), sample_seeds(0, 20), "heun", 3, Autoguidance(weak, 2.0), batch_size=7
    )
    made = [np.load(make(plan, n.key, tmp_path) / "samples.npz")["images"] for n in (node, plain)]
    assert np.array_equal(made[0], by_hand) and not np.array_equal(made[0], made[1])


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("guide: {run: base}", "guide: {run: bsae}", "unknown run 'bsae'"),
        ("guide: {run: base}", "guide: {run: base, lambda: 1}", "'base' has no lambda"),
        ("cfg: 2, guide", "guide", "a scale `cfg` other than 1"),
        ("cfg: 2, guide", "cfg: 2, low: 0.1, guide", "acts at all times"),
        ("{steps: 3, n: 20}", "{sampler: official, n: 20}", "own guidance"),
    ],
)
def test_what_autoguidance_cannot_be(old: str, new: str, told: str, tmp_path: Path) -> None:
    assert old in SUITE
    with pytest.raises(UserError, match=told):
        planned(tmp_path, SUITE.replace(old, new))
