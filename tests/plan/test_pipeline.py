"""What is laid out for a suite: which stages there are, what they share, and what each cell waits for."""

from __future__ import annotations

import gc
from collections import Counter
from pathlib import Path

import pytest

from drlbench.errors import MissingPrerequisite, UserError
from drlbench.plan import pipeline
from drlbench.plan.graph import CellPlan, Plan
from drlbench.plan.pipeline import lay_out
from drlbench.suite.load import load_suite

TINY = Path(__file__).parents[1] / "fault" / "tiny.yaml"  # base, sft, and drl in two rounds at two lambdas


def laid_out(*overrides: str, pattern: str = "*") -> Plan:
    return lay_out(load_suite(TINY, overrides), pattern)


def cell(plan: Plan, run: str, lambda_: float | None = None) -> CellPlan:
    (found,) = (c for c in plan.cells if (c.cell.run, c.cell.lambda_) == (run, lambda_))
    return found


def rounds(cell: CellPlan, kind: str) -> list[str]:
    return [node.key for _, node in cell.training if node.kind == kind]


def test_lambdas_share_what_does_not_depend_on_them() -> None:
    plan = laid_out()
    one, two = cell(plan, "drl", 1.0), cell(plan, "drl", 2.0)
    assert Counter(n.kind for n in plan.nodes.values())["base"] == 1
    first, second = zip(rounds(one, "reward"), rounds(two, "reward"), strict=True)
    assert first[0] == first[1], "in the first round both look at the base's samples"
    assert second[0] != second[1], "in the second at those of their own models"
    assert not set(rounds(one, "finetune")) & set(rounds(two, "finetune"))


def test_a_round_starts_where_the_one_before_ended() -> None:
    plan = laid_out()
    drl = cell(plan, "drl", 1.0)
    nodes = {kind: [plan.nodes[key] for key in rounds(drl, kind)] for kind in ("reward", "finetune")}
    base = cell(plan, "base").model
    for i, previous in enumerate((base, nodes["finetune"][0])):
        assert nodes["finetune"][i].inputs["start"] == (previous.kind, previous.key)
        assert nodes["finetune"][i].inputs["reward:drl"] == ("reward", nodes["reward"][i].key)
        assert (previous.kind, previous.key) in nodes["reward"][i].inputs.values()
    assert drl.model is nodes["finetune"][-1]
    assert [number for number, _ in drl.training] == [1, 1, 2, 2]


def test_numbers_rest_on_the_cells_own_model() -> None:
    plan = laid_out()
    for found in plan.cells:
        measured = found.measured["none"]
        assert measured.samples.inputs["model"] == (found.model.kind, found.model.key)
        for node, space in measured.numbers():
            looked_at = plan.nodes[node.inputs["features"][1]] if space else node
            assert looked_at.inputs["samples"] == ("samples", measured.samples.key)


def test_kl_is_from_the_base_and_asked_for() -> None:
    plan, without = laid_out(), laid_out("kl_samples=0")
    base = cell(plan, "base")
    assert base.kl is None
    for found in plan.cells:
        if found is not base:
            assert found.kl is not None
            assert found.kl.inputs["base"][1] == base.model.key and found.kl.inputs["model"][1] == found.model.key
    assert all(c.kl is None for c in without.cells)
    dropped = set(plan.nodes) - set(without.nodes)
    assert {plan.nodes[key].kind for key in dropped} == {"kl"}, "nothing else is made anew"


def test_guidance_is_measured_for_the_runs_that_it_names() -> None:
    plan = laid_out("guidance=[{name: none}, {name: cfg, cfg: 2.0, runs: [base]}]")
    assert set(cell(plan, "base").measured) == {"none", "cfg"}
    assert set(cell(plan, "sft").measured) == {"none"}
    guided = cell(plan, "base").measured
    assert guided["cfg"].samples.settings["cfg"] == 2.0
    assert guided["cfg"].samples.key != guided["none"].samples.key


def test_chosen_cells_bring_no_others_stages() -> None:
    whole, part = laid_out(), laid_out(pattern="*/sft/*")
    assert set(part.nodes) < set(whole.nodes), "a part of a suite uses the same results"
    assert not {n.kind for n in part.nodes.values()} & {"reward", "trajectory"}
    assert [c.cell.run for c in part.cells] == ["sft"]


def test_norms_along_the_sde_are_for_adjoint_matching_alone() -> None:
    plan = laid_out("trajectory_samples=8")
    assert {c.cell.run: c.trajectory is not None for c in plan.cells} == {"base": False, "sft": False, "drl": True}


def test_images_that_are_not_here_are_needed_to_run_and_not_to_plan(tmp_path: Path) -> None:
    where = tmp_path / "nowhere"
    suite = load_suite(
        TINY, (f"data={{kind: folder, path: {where}, size: 8, grey: true, class_names: {list('abcdefghij')}}}",)
    )
    with pytest.raises(MissingPrerequisite):
        lay_out(suite)
    assert len(lay_out(suite, absent_ok=True).cells) == 4


def test_a_failed_plan_leaves_the_collector_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise UserError("no")

    monkeypatch.setattr(pipeline, "model", fail)
    with pytest.raises(UserError, match="no"):
        laid_out()
    assert gc.isenabled()
