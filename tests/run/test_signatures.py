"""A run's signatures name the networks themselves: equal settings are not equal weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from drlbench.encoders.small import SmallEncoder
from drlbench.metrics.signature import read_signature, why_not_comparable
from drlbench.plan.graph import Plan
from drlbench.plan.node import Node
from drlbench.plan.pipeline import lay_out
from drlbench.run.perform import Options, perform
from drlbench.run.reading import Reader, Score
from drlbench.run.signatures import signature
from drlbench.stages import VERSIONS, Job
from drlbench.stages.encoder import run as fit_encoder
from drlbench.store import atomic
from drlbench.store.layout import Store
from drlbench.suite.load import load_suite

TINY = Path(__file__).parents[1] / "fault" / "tiny.yaml"
ROW = Score(metric="fd", value=1.0, low=None, high=None, n=60, better="lower")


def encode(plan: Plan, store: Store, name: str) -> None:
    node = plan.encoders[name]
    with atomic.artefact(store.folder(node.kind, node.key), {"key": node.key}) as out:
        fit_encoder(Job(node.settings, {}, out, out, "cpu", lambda done: None))


def scores(plan: Plan, space: str) -> Node:
    assert plan.data is not None
    return plan.data.scores[space]


def test_equal_settings_with_other_weights_have_other_signatures(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plan = lay_out(load_suite(TINY, ["spaces=[dae, pixels]"]), "*")
    here, again, there = (Store(tmp_path / name) for name in ("here", "again", "there"))
    encode(plan, here, "dae")
    encode(plan, again, "dae")
    rescale = SmallEncoder._rescale

    def elsewhere(self: SmallEncoder, pixels: torch.Tensor) -> None:
        """Another machine's sums end in other bits."""
        with torch.no_grad():
            next(self.parameters()).mul_(1.0001)
        rescale(self, pixels)

    monkeypatch.setattr(SmallEncoder, "_rescale", elsewhere)
    encode(plan, there, "dae")
    one, same, other = (signature(plan, Reader(store), scores(plan, "dae"), ROW) for store in (here, again, there))
    assert one == same
    (why,) = why_not_comparable(one, other)
    assert why.startswith("extractor: small-dae:")
    parts = read_signature(one)
    assert parts["ref"].startswith("digits:") and parts["code"] == f"scores.{VERSIONS['scores']}" and parts["n"] == "60"


def test_a_fitted_encoder_that_hides_its_weights_is_named_with_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(SmallEncoder, "_sign", lambda self: setattr(self, "signature", "mine"))
    plan, store = lay_out(load_suite(TINY, ["spaces=[dae, pixels]"]), "*"), Store(tmp_path)
    encode(plan, store, "dae")
    found = read_signature(signature(plan, Reader(store), scores(plan, "dae"), ROW))["enc"]
    assert found.startswith("mine:") and len(found) == len("mine:") + 12


@pytest.mark.usefixtures("in_process")
@pytest.mark.filterwarnings("ignore")
def test_every_number_of_a_run_names_what_it_depends_on(tmp_path: Path) -> None:
    from drlbench.report.results import read_results

    suite = load_suite(TINY, ["kl_samples=20", "preferences=[drl]"])
    options = Options(1, "cpu", "")
    perform(suite, lay_out(suite, "*sft*"), Store(tmp_path / "store"), tmp_path / "run", options)
    rows = read_results(tmp_path / "run" / "results.csv")
    for row in rows:
        parts = read_signature(row.signature)
        assert parts["metric"] == row.metric and parts["n"] == str(row.n) and parts["sampler"]
        assert ("enc" in parts) == bool(row.space)
        assert "ref" in parts or "reward" in parts
