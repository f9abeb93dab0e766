"""Distances to a part of the real images, and what a held-out space shares with the reward's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from drlbench.metrics.signature import read_signature
from drlbench.plan.pipeline import lay_out
from drlbench.report.rundata import read_run
from drlbench.run.perform import Options, perform
from drlbench.store.layout import Store
from drlbench.suite.load import load_suite

TINY = Path(__file__).parents[1] / "fault" / "tiny.yaml"
CLASSIFIERS = (
    "encoders.judge={kind: small-classifier, seed: 1, steps: 5, width: 8}",
    "encoders.eye={kind: small-classifier, seed: 2, steps: 5, width: 8}",
    "spaces=[judge, pixels, eye]",
    "rewards.drl.encoders=[eye]",
)


@pytest.mark.usefixtures("in_process")
@pytest.mark.filterwarnings("ignore")
def test_a_part_is_measured_and_named(tmp_path: Path) -> None:
    suite = load_suite(TINY, ("reference_images=50", *CLASSIFIERS))
    plan, store = lay_out(suite, "*base*"), Store(tmp_path / "store")
    done = perform(suite, plan, store, tmp_path / "run", Options(1, "cpu", ""))
    assert done.record["status"] == "partial", "base alone, of a suite with more cells"
    (reference,) = (n for n in plan.nodes.values() if n.kind == "reference" and "pixels" in n.label)
    with np.load(store.folder("reference", reference.key) / "reference.npz") as kept:
        assert len(kept["train"]) == len(kept["heldout"]) == len(kept["heldout_labels"]) == 50
        assert np.bincount(kept["heldout_labels"]).tolist() == [5] * 10
    run = read_run(tmp_path / "run")
    rows = [r for r in run.rows if r.space == "pixels"]
    assert {read_signature(r.signature)["ref"].partition("/")[2] for r in rows} == {"50"}
    assert {r.n for r in rows if r.run == "data"} == {50}
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert {s["name"]: s["kin"] for s in record["spaces"]} == {
        "judge": "this data set's labels, as eye",
        "pixels": "",
        "eye": "",
    }
    assert run.kin("judge") and not run.kin("pixels")


def test_without_a_limit_the_keys_are_as_before() -> None:
    whole, part = (lay_out(load_suite(TINY, more), "*") for more in ((), ("reference_images=50",)))
    kinds = {"reference", "samples"}
    assert not any("limit" in n.settings for n in whole.nodes.values())
    assert {n.kind for n in part.nodes.values() if "limit" in n.settings} == kinds
