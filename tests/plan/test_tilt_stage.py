"""One tilt stage for all lambdas of a run, and none where nothing asks for it."""

from __future__ import annotations

from drlbench.plan.pipeline import lay_out
from drlbench.suite.load import load_suite


def test_lambdas_share_a_tilt_and_no_other_stage_changes() -> None:
    without = lay_out(load_suite("digits", ("tilt_samples=0",)))
    found = lay_out(load_suite("digits", ("tilt_samples=4000",)))
    own = {key: n for key, n in found.nodes.items() if key not in without.nodes}
    assert set(without.nodes) <= set(found.nodes)
    assert {n.kind for n in own.values()} == {"tilt", "samples", "features", "kl"}
    cells = {c.cell.id: c.tilt for c in found.cells}
    assert cells["sit/drl/lambda=0.5/seed=0.0"] is cells["sit/drl/lambda=3/seed=0.0"] is not None
    assert cells["sit/base/seed=0.0"] is cells["sit/sft/seed=0.0"] is None
    combined = cells["sit/combined/lambda=0.5/seed=0.0"]
    assert combined is not None
    assert combined.settings["fixed"] == {"drl": 1}
    assert combined.settings["varied"] == "bold"
    # Every preference of the suite judges it; the terms that it is made of are its own.
    judges = {n.removeprefix("reward:") for n in combined.inputs if n.startswith("reward:")}
    assert judges == {"drl", "bold", "bold-held-out"}
    # The pool of drl+prl is that of the model it starts from.
    after = cells["sit/drl+prl/lambda=1.5/seed=0.0"]
    assert after is not None
    assert found.nodes[after.inputs["samples"][1]].inputs["model"][0] == "finetune"


def test_what_starts_from_another_run_has_a_kl_from_there() -> None:
    found = lay_out(load_suite("digits", ("tilt_samples=4000",)))
    own = {c.cell.id: c for c in found.cells}
    after, start = own["sit/drl+prl/lambda=1.5/seed=0.0"], own["sit/drl/lambda=1/seed=0.0"]
    assert after.kl_start is not None
    assert after.kl_start.inputs["base"][1] == start.model.key
    assert after.kl_start.inputs["model"][1] == after.model.key
    assert start.kl_start is None  # it starts from the base
