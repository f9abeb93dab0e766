"""The graph of a suite: keys as the store makes them, inputs before users, settings shared and not copied."""

from __future__ import annotations

import gc

import pytest

from drlbench.data.kinds import PLACES
from drlbench.errors import UserError
from drlbench.plan.pipeline import lay_out
from drlbench.store.keys import stage_key
from drlbench.suite.load import load_suite

MANY = ("runs.drl.headline=null", "runs.drl.sweep=null", f"runs.drl.seeds={list(range(40))}")


def test_every_key_is_the_stores() -> None:
    for node in lay_out(load_suite("digits-small")).nodes.values():
        settings = {name: value for name, value in node.settings.items() if name != "where"}
        if "data" in settings:
            settings["data"] = {name: value for name, value in settings["data"].items() if name not in PLACES}
        inputs = {name: key for name, (_, key) in node.inputs.items()}
        assert node.key == stage_key(node.kind, node.version, settings, inputs)


def test_inputs_stand_before_their_users() -> None:
    plan = lay_out(load_suite("digits-all"))
    seen: set[str] = set()
    for node in plan.nodes.values():
        assert {key for _, key in (*node.inputs.values(), *node.after)} <= seen, node.label
        seen.add(node.key)


def test_many_cells_share_their_settings() -> None:
    plan = lay_out(load_suite("digits", MANY))
    scores = [node for node in plan.nodes.values() if node.kind == "scores"]
    tunes = [n for n in plan.nodes.values() if n.kind == "finetune" and n.settings["algorithm"] == "adjoint-matching"]
    assert len(plan.cells) > 200 and len(scores) > 1000
    assert len({id(node.settings) for node in scores}) <= 2
    assert len({id(node.settings["settings"]) for node in tunes}) == len(plan.spec.backbones)
    assert gc.isenabled()


def test_cells_of_several_patterns_are_made_in_the_order_of_the_suite() -> None:
    suite = load_suite("digits-small")
    chosen = [plan.cell.id for plan in lay_out(suite, "sit/drl/lambda=2/*", "*/base/*").cells]
    assert chosen == ["sit/base/seed=0.0", "sit/drl/lambda=2/seed=0.0"]


def test_a_pattern_that_fits_no_cell_is_told() -> None:
    suite = load_suite("digits-small")
    with pytest.raises(UserError, match=r"--cells 'sit/drll\*' matches none of the"):
        lay_out(suite, "sit/base/*", "sit/drll*")
    with pytest.raises(UserError, match="matches none of the"):
        lay_out(suite, "sit/drll*")
    with pytest.raises(UserError, match=r"ids look like 'sit/base/seed=0\.0'"):
        lay_out(suite, "*/base")
    assert len(lay_out(suite, limit=1).cells) == 1
