"""One tilt stage for all lambdas of a run, and none where nothing asks for it."""

from __future__ import annotations

from drlbench.plan.pipeline import lay_out
from drlbench.suite.load import load_suite


def test_lambdas_share_a_tilt_and_no_other_stage_changes() -> None:
    without = lay_out(load_suite("digits"))
    found = lay_out(load_suite("digits", ("tilt_samples=4000",)))
    own = {key: n for key, n in found.nodes.items() if key not in without.nodes}
    assert set(without.nodes) <= set(found.nodes)
    assert {n.kind for n in own.values()} == {"tilt", "samples", "features"}
    cells = {c.cell.id: c.tilt for c in found.cells}
    assert cells["sit/drl/lambda=0.5/seed=0.0"] is cells["sit/drl/lambda=3/seed=0.0"] is not None
    assert cells["sit/base/seed=0.0"] is cells["sit/sft/seed=0.0"] is None
    combined = cells["sit/combined/lambda=0.5/seed=0.0"]
    assert combined is not None
    assert combined.settings["fixed"] == {"drl": 1}
    assert combined.settings["varied"] == "bold"
    # The pool of drl+prl is that of the model it starts from.
    after = cells["sit/drl+prl/lambda=1.5/seed=0.0"]
    assert after is not None
    assert found.nodes[after.inputs["samples"][1]].inputs["model"][0] == "finetune"
