"""`policy` of a run: in the stages' keys only where it is given, counted, and refused where it means nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from drlbench.cost.counts import Counts
from drlbench.cost.networks import network_passes
from drlbench.cost.stage import Graph, Stage
from drlbench.errors import UserError
from drlbench.plan.graph import Plan
from drlbench.plan.pipeline import lay_out
from drlbench.stages.finetune import cost
from drlbench.suite.load import load_suite

SUITE = """\
suite: tiny
data: {kind: digits}
encoders: {dae: {kind: small-dae}}
backbones:
  sit: {family: sit, architecture: {hidden_size: 12, depth: 1, num_heads: 3}, pretrain: {steps: 5}}
rewards: {drl: {kind: discriminator, encoders: [dae]}}
algorithms:
  am: {kind: adjoint-matching, updates: 5}
  sft: {kind: sft, updates: 5}
  lora: {kind: sft, updates: 5, lora_rank: 2}
runs:
  sft: {algorithm: sft}
  sft-wide: {algorithm: sft, policy: {widen: 20, depth: 2}}
  drl-wide: {algorithm: am, reward: drl, lambda: 1, rounds: 2, policy: {widen: 20, depth: 2}}
  after: {algorithm: sft, start: {run: drl-wide, lambda: 1}}
sampling: {steps: 4, n: 20}
metrics: [fd]
"""


def planned(tmp_path: Path, text: str = SUITE) -> Plan:
    (tmp_path / "suite.yaml").write_text(text)
    return lay_out(load_suite(tmp_path / "suite.yaml"))


def test_only_the_round_that_widens_says_so(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    tuned = {n.label: n for n in plan.nodes.values() if n.kind == "finetune"}
    said = {label: node.settings.get("policy") for label, node in tuned.items()}
    wide = {"widen": 20, "depth": 2}
    assert said == {
        "sit/sft/seed=0.0 round 1: sft": None,
        "sit/sft-wide/seed=0.0 round 1: sft": wide,
        "sit/drl-wide/lambda=1/seed=0.0 round 1: am": wide,
        "sit/drl-wide/lambda=1/seed=0.0 round 2: am": None,
        "sit/after/seed=0.0 round 1: sft": None,
    }
    plain = planned(tmp_path, SUITE.replace("policy: {widen: 20, depth: 2}", "description: x"))
    assert tuned["sit/sft/seed=0.0 round 1: sft"].key in plain.nodes


def test_both_networks_are_counted_from_there_on(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    graph = Graph(plan.nodes)
    models = {n.label: Stage(n, graph).model() for n in plan.nodes.values() if n.kind == "samples" and n.inputs}
    narrow = models["sit/sft/seed=0.0: samples, none"].velocity.passes
    start = next(Stage(n, graph) for n in plan.nodes.values() if n.kind == "base")
    beside = (
        "sit",
        '{"hidden_size": 20, "depth": 2, "num_heads": 5, "input_size": 8, "in_channels": 1, "num_classes": 10}',
    )
    second = network_passes((*beside, "pixels", None, ""))
    assert narrow.values == network_passes(start.key()).values
    for name in ("sft-wide", "drl-wide/lambda=1", "after"):
        found = models[f"sit/{name}/seed=0.0: samples, none"].velocity.passes
        assert found.values == narrow.values + second.values
        assert found.forward.flops == pytest.approx(narrow.forward.flops + second.forward.flops, rel=1e-3)


def test_a_plan_tells_what_comes_after_a_second_network_from_the_same_without(tmp_path: Path) -> None:
    wider = SUITE.replace("runs:", "runs:\n  drl: {algorithm: am, reward: drl, lambda: 1, rounds: 2}")
    plan = planned(tmp_path, wider)
    counts, found = Counts(plan.nodes), {n.label: n for n in plan.nodes.values()}
    plain, wide = (found[f"sit/{run}/lambda=1/seed=0.0 round 2: am"] for run in ("drl", "drl-wide"))
    assert counts.of(plain).tflop < counts.of(wide).tflop == cost(Stage(wide, Graph(plan.nodes))).tflop


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("sft-wide: {algorithm: sft,", "sft-wide: {algorithm: lora,", "low-rank updates only"),
        ("{algorithm: sft, start: {run: drl-wide, lambda: 1}}", "{policy: {widen: 20}}", "needs an `algorithm`"),
        ("widen: 20, depth: 2}}\n  drl", "widen: 22, depth: 2}}\n  drl", "not a multiple of 4"),
        ("start: {run: drl-wide", "policy: {widen: 20}, start: {run: drl-wide", "`policy` already"),
    ],
)
def test_what_a_policy_does_not_go_with(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert old in SUITE
    (tmp_path / "suite.yaml").write_text(SUITE.replace(old, new))
    with pytest.raises(UserError, match=told):
        load_suite(tmp_path / "suite.yaml")


@pytest.mark.parametrize("change", ["hidden_size: '=cmd'", "hidden_size: {a: 1}", "hidden_size: []", "num_heads: 0"])
def test_a_start_of_no_width_is_named_and_not_looked_into(tmp_path: Path, change: str) -> None:
    key = change.split(":")[0]
    (tmp_path / "suite.yaml").write_text(SUITE.replace(f"{key}: {'12' if key == 'hidden_size' else '3'}", change))
    with pytest.raises(UserError, match=rf"(?s)suite\.yaml:\d+:\d+: .*policy: the start's {key}"):
        load_suite(tmp_path / "suite.yaml")
