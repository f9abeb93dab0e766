"""`match` of a run and `rate_width` of an algorithm: equal cost by one count, and rates that fall with the width."""

from __future__ import annotations

from pathlib import Path

import pytest

from drlbench.cost.counts import Counts
from drlbench.cost.work import ASSUMED, Work
from drlbench.errors import UserError
from drlbench.plan.graph import Plan
from drlbench.plan.node import Node
from drlbench.plan.pipeline import lay_out
from drlbench.suite.load import load_suite

SUITE = """\
suite: tiny
data: {kind: digits}
encoders: {dae: {kind: small-dae}}
backbones:
  narrow: {family: sit, architecture: {hidden_size: 8, depth: 1, num_heads: 2}, pretrain: {steps: 5}}
  wide: {family: sit, architecture: {hidden_size: 48, depth: 1, num_heads: 12}, pretrain: {steps: 5}}
rewards: {drl: {kind: discriminator, encoders: [dae], fakes: 500, steps: 30, batch: 64}}
algorithms:
  am: {kind: adjoint-matching, updates: 60, steps: 20, batch: 32, buffer: 64, learning_rate: 3e-3, rate_width: 12}
  sft: {kind: sft, updates: 7, batch: 32, watch: {every: 2}}
  awm: {kind: awm, updates: 7, batch: 24, endpoints: 72, group: 24}
runs:
  base: {}
  sft: {algorithm: sft, match: {run: drl, lambda: 2}}
  drl: {algorithm: am, reward: drl, lambda: [1, 2], rounds: 2}
  awm: {algorithm: awm, reward: drl, lambda: 1, rounds: 2, match: {run: drl, lambda: 1}}
sampling: {steps: 4, n: 20}
metrics: [fd]
"""


def planned(tmp_path: Path, text: str = SUITE, cells: str = "*") -> Plan:
    (tmp_path / "suite.yaml").write_text(text)
    return lay_out(load_suite(tmp_path / "suite.yaml"), cells)


def cost(plan: Plan, nodes: list[Node]) -> float:
    """Seconds of a processor core, starting and watching left out; counted by what `plan` quotes."""
    counts, core, total = Counts(plan.nodes), ASSUMED["cpu"], 0.0
    for node in nodes:
        bare = node._replace(key=node.key + "bare", settings={k: v for k, v in node.settings.items() if k != "watch"})
        work = counts.of(bare)
        assert isinstance(work, Work)
        total += core.seconds(work, {}) - core.start
    return total


def one_more(node: Node) -> Node:
    settings = {**node.settings, "updates": node.settings["updates"] + 1}
    return node._replace(key=node.key + "longer", settings=settings)


@pytest.mark.parametrize("backbone", ["narrow", "wide"])
def test_the_updates_are_the_most_that_cost_no_more(tmp_path: Path, backbone: str) -> None:
    plan = planned(tmp_path)
    made = {c.cell.id: [n for _, n in c.training] for c in plan.cells}
    whole = cost(plan, made[f"{backbone}/drl/lambda=2/seed=0.0"])
    for run in ("sft", "awm/lambda=1"):
        own = made[f"{backbone}/{run}/seed=0.0"]
        grown = [one_more(n) if n.kind == "finetune" else n for n in own]
        assert cost(plan, own) <= whole < cost(plan, grown)
        assert {n.settings["updates"] for n in own if n.kind == "finetune"} != {7}


def test_the_other_run_need_not_be_made(tmp_path: Path) -> None:
    alone = planned(tmp_path, cells="narrow/sft/*")
    assert not [n.label for n in alone.nodes.values() if "drl" in n.label]
    assert set(alone.nodes) < set(planned(tmp_path).nodes)


def test_a_rate_falls_as_the_width_grows(tmp_path: Path) -> None:
    rates = {
        n.label.split("/")[0]: n.settings["settings"]["learning_rate"]
        for n in planned(tmp_path).nodes.values()
        if n.settings.get("algorithm") == "adjoint-matching"
    }
    assert rates == {"narrow": pytest.approx(4.5e-3), "wide": pytest.approx(7.5e-4)}


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("match: {run: drl, lambda: 2}", "match: {run: dlr}", "unknown run 'dlr' .did you mean 'drl'"),
        ("match: {run: drl, lambda: 2}", "match: {run: drl}", "say which `lambda` of 'drl'"),
        ("match: {run: drl, lambda: 2}", "match: {run: base}", "'base' trains nothing"),
        ("match: {run: drl, lambda: 2}", "match: {run: awm, lambda: 1}", "chains end after one link"),
        ("base: {}", "base: {match: {run: drl, lambda: 1}}", "needs an `algorithm`"),
        ("rounds: 2}\n  awm", "rounds: 2, backbones: [wide]}\n  awm", "'drl' does not run on narrow"),
        ("{family: sit, architecture: {hidden_size: 8, depth: 1, num_heads: 2}, pretrain: {steps: 5}}",
         "{family: sit, checkpoint: here.pt}", "backbone 'narrow': the width of this network is not known"),
    ],
)  # fmt: skip
def test_what_cannot_be_matched_is_told_where_it_stands(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert old in SUITE
    (tmp_path / "suite.yaml").write_text(SUITE.replace(old, new))
    (tmp_path / "here.pt").write_bytes(b"")
    with pytest.raises(UserError, match=told):
        load_suite(tmp_path / "suite.yaml")


def test_a_run_that_is_too_short_to_match_is_told(tmp_path: Path) -> None:
    huge = SUITE.replace("{kind: sft, updates: 7, batch: 32,", "{kind: sft, updates: 7, batch: 100000000,")
    with pytest.raises(UserError, match=r"runs\.sft\.match: one update of narrow/sft/seed=0\.0 costs more"):
        planned(tmp_path, huge)


@pytest.mark.parametrize("width", ["'=cmd'", "{a: 1}", "[]"])
def test_a_width_that_is_none_is_named_and_not_looked_into(tmp_path: Path, width: str) -> None:
    (tmp_path / "suite.yaml").write_text(SUITE.replace("hidden_size: 8,", f"hidden_size: {width},"))
    with pytest.raises(UserError, match=r"(?s)suite\.yaml:\d+:\d+: .*hidden_size"):
        load_suite(tmp_path / "suite.yaml")
