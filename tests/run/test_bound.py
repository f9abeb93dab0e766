"""The share of the attainable objective: 0 for the start, 1 for the tilt itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from drlbench.plan.pipeline import lay_out
from drlbench.report.load import load_run
from drlbench.run.bound import attained
from drlbench.run.perform import Options, perform
from drlbench.store.layout import Store
from drlbench.suite.load import load_suite

TILT = {"tilt_objective": (-1.0, 0.02), "tilt_start": (-2.6, 0.03)}


def rows(reward: float, kl: float) -> dict[str, dict[str, float]]:
    found = attained(TILT, {"r": (reward, 0.04)}, {"r": 1.0}, (kl, 0.05), 2000)
    return {row["metric"]: row for row in found}


def test_the_tilt_attains_all_and_the_start_nothing() -> None:
    best, none = rows(0.1, 1.1), rows(-2.6, 0.0)
    assert best["attainable_share"]["value"] == pytest.approx(1.0)
    assert best["tilt_gap_nats"]["value"] == pytest.approx(0.0)
    assert best["nats_per_reward"]["value"] == pytest.approx(1.1 / 2.7)
    assert none["attainable_share"]["value"] == pytest.approx(0.0)
    assert none["tilt_gap_nats"]["value"] == pytest.approx(1.6)
    assert "nats_per_reward" not in none  # nothing was gained
    assert "nats_per_reward" not in rows(-2.51, 0.1)  # a gain of .09, whose standard error is .05


def test_the_interval_of_nats_per_reward_covers() -> None:
    """A gain of five standard errors, of which hardly a draw is not measurable."""
    rng, truth = np.random.default_rng(0), (0.3, 0.25)
    inside = measured = 0
    for _ in range(4000):
        kl, gain = rng.normal(truth[0], 0.03), rng.normal(truth[1], 0.05)
        found = attained(TILT | {"tilt_start": (-2.6, 0.03)}, {"r": (-2.6 + gain, 0.04)}, {"r": 1.0}, (kl, 0.03), 2000)
        row = next((r for r in found if r["metric"] == "nats_per_reward"), None)
        measured += row is not None
        # Where nothing was gained measurably, every large ratio is inside.
        inside += row is None or row["low"] <= truth[0] / truth[1] <= row["high"]
    assert 0.94 < inside / 4000 < 0.96
    assert measured > 3980


def test_the_error_is_that_of_the_parts() -> None:
    row = rows(-1.4, 0.6)["attainable_share"]
    share = (-2.0 + 2.6) / 1.6
    variance = 0.04**2 + 0.05**2 + ((1 - share) * 0.03) ** 2 + (share * 0.02) ** 2
    assert row["value"] == pytest.approx(share)
    assert row["high"] - row["low"] == pytest.approx(2 * 1.96 * variance**0.5 / 1.6)


SUITE = """
suite: bound
data: {kind: digits}
encoders: {pixels: {kind: pixels}}
spaces: [pixels]
backbones:
  sit:
    family: sit
    architecture: {input_size: 8, patch_size: 4, in_channels: 1, hidden_size: 8, depth: 1, num_heads: 2,
      num_classes: 10, learn_sigma: false}
    pretrain: {steps: 20, lr: 0.02}
rewards:
  bold: {kind: bradley-terry, seed: 5, count: 400, network: mlp, steps: 40}
  dark: {kind: bradley-terry, seed: 6, count: 400, network: mlp, steps: 40}
  drl: {kind: discriminator, encoders: [pixels], fakes: 100, head: linear, batch: 64, steps: 10}
algorithms:
  am: {kind: adjoint-matching, updates: 2, steps: 4, buffer: 20, batch: 20, passes: 1, timestep_fraction: 0.5}
runs:
  base: {}
  first: {reward: bold, algorithm: am, lambda: [1]}
  second: {start: {run: first, lambda: 1}, reward: bold, algorithm: am, lambda: [1]}
  third: {start: {run: first, lambda: 1}, reward: drl, algorithm: am, lambda: [1]}
  unseen: {reward: dark, algorithm: am, lambda: [1, 60]}
sampling: {sampler: euler, steps: 4, n: 60}
metrics: [fd]
preferences: [bold]
kl_samples: 40
tilt_samples: 120
resamples: 20
"""


@pytest.mark.usefixtures("in_process")
def test_a_run_says_what_it_attained_or_why_that_is_not_defined(tmp_path: Path) -> None:
    (tmp_path / "bound.yaml").write_text(SUITE)
    suite = load_suite(str(tmp_path / "bound.yaml"))
    perform(suite, lay_out(suite), Store(tmp_path / "store"), tmp_path / "run", Options(1, "cpu", ""))
    rows = load_run(tmp_path / "run").results.set_index(["run", "lambda", "metric"]).sort_index()
    assert {"attainable_share", "tilt_gap_nats"} <= set(rows.loc[("first", 1.0)].index)
    # From another run's model: the KL from there, and no other, is what the objective is charged with.
    second = rows.loc[("second", 1.0)]
    assert {"attainable_share", "kl_start_nats", "kl_nats"} <= set(second.index)
    objective = second.loc["bold", "value"] - second.loc["kl_start_nats", "value"]
    assert second.loc["tilt_gap_nats", "value"] == pytest.approx(second.loc["tilt_objective", "value"] - objective)
    # A reward that is no preference of the suite judges its own cells, and makes no column of the others.
    assert "attainable_share" in rows.loc[("unseen", 1.0)].index
    assert "dark" not in rows.index.get_level_values("metric")
    (record,) = (run.record for run in load_run(tmp_path / "run").runs)
    warnings = record.model_dump()["warnings"]
    assert any(w.startswith("sit/unseen/lambda=60/seed=0.0: the tilt rests on") for w in warnings)


def test_a_discriminator_fitted_to_another_runs_samples_judges_what_its_run_attained(tmp_path: Path) -> None:
    (tmp_path / "bound.yaml").write_text(SUITE.replace("preferences: [bold]", "preferences: [drl]"))
    third = next(c for c in lay_out(load_suite(str(tmp_path / "bound.yaml"))).cells if c.cell.run == "third")
    fitted = next(node for _, node in third.training if node.kind == "reward")
    assert third.terms["drl"].inputs["reward"][1] == fitted.key
    assert third.measured["none"].preference["drl"].inputs["reward"][1] != fitted.key  # judges by the base's


def test_guided_samples_are_not_judged_for_a_share(tmp_path: Path) -> None:
    (tmp_path / "bound.yaml").write_text(SUITE + "guidance: [{name: strong, cfg: 2.0}]\n")
    plan = lay_out(load_suite(str(tmp_path / "bound.yaml")))
    assert all(not cell.terms for cell in plan.cells)
