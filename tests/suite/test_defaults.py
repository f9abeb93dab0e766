"""Stage keys see settings in full: a default that changes, or one that is written out."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import Field

from drlbench.encoders.small_dae import AutoencoderSettings, DenoisingAutoencoder
from drlbench.errors import UserError
from drlbench.finetune.adjoint_matching import AdjointMatching, AdjointMatchingSettings
from drlbench.plan.graph import Plan
from drlbench.plan.pipeline import lay_out
from drlbench.suite.load import load_suite


def laid_out(*overrides: str, suite: str = "digits") -> Plan:
    return lay_out(load_suite(suite, overrides), absent_ok=True)


def keys(plan: Plan, kind: str) -> set[str]:
    return {node.key for node in plan.nodes.values() if node.kind == kind}


def test_a_default_written_out_is_the_same_stage() -> None:
    plain = laid_out()
    spelt = laid_out(
        "algorithms.am.timestep_split=0.6",
        "encoders.dae.mask=0.25",
        "rewards.drl.buffer_batches=20",
        "rewards.bold.network=conv",
        "backbones.sit.pretrain.hold=0.6",
    )
    assert set(plain.nodes) == set(spelt.nodes)


@pytest.mark.parametrize(
    ("owner", "record", "kind", "changed"),
    [
        (AdjointMatching, AdjointMatchingSettings, "finetune", {"timestep_split": 0.5}),
        (DenoisingAutoencoder, AutoencoderSettings, "encoder", {"steps": 7}),
    ],
)
def test_a_changed_default_is_another_stage(
    owner: Any, record: Any, kind: str, changed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = keys(laid_out(), kind)
    fields = {name: (record.model_fields[name].annotation, Field(value)) for name, value in changed.items()}
    namespace = {"__annotations__": {n: a for n, (a, _) in fields.items()}, **{n: f for n, (_, f) in fields.items()}}
    monkeypatch.setattr(owner, "Record", type("Later", (record,), namespace))
    assert keys(laid_out(), kind) - before


def test_the_stage_sees_everything_that_it_will_be_run_with() -> None:
    plan = laid_out()
    tune = next(
        n for n in plan.nodes.values() if n.kind == "finetune" and n.settings["algorithm"] == "adjoint-matching"
    )
    assert set(tune.settings["settings"]) == {
        field.alias or name for name, field in AdjointMatchingSettings.model_fields.items()
    } - {"lambda"}
    assert tune.settings["settings"]["outlier_quantile"] is None, "what the suite says stays"
    preset = laid_out(suite="imagenet256")
    tune = next(
        n for n in preset.nodes.values() if n.kind == "finetune" and n.settings["algorithm"] == "adjoint-matching"
    )
    assert tune.settings["settings"]["buffer"] in (2304, 3072)


def test_a_mistake_is_told_with_its_place() -> None:
    with pytest.raises(UserError, match=r"algorithms\.am\.pases: unknown setting 'pases' \(did you mean 'passes'"):
        laid_out("algorithms.am.pases=3")
