"""Norms along the memoryless SDE: against a model whose marginals are known, and only where a suite asks for them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from test_finetune import SUITE, make

from drlbench.backbones.base import PixelRange, VelocityModel
from drlbench.flow.memoryless import scheme
from drlbench.plan.graph import Plan
from drlbench.plan.pipeline import lay_out
from drlbench.stages.trajectory import norms
from drlbench.suite.load import load_suite

DEVIATION, SIZE = 0.5, 64


class Gaussian(VelocityModel):
    """The exact velocity of data N(0, s^2 I): X_t has variance t^2 s^2 + (1 - t)^2."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.autoencoder = torch.nn.Identity(), PixelRange()
        self.latent_shape, self.num_classes = (1, 8, 8), 1

    def velocity(self, x: torch.Tensor, t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        t = t.view(-1, 1, 1, 1)
        return (t * DEVIATION**2 - (1 - t)) / (t**2 * DEVIATION**2 + (1 - t) ** 2) * x


def expected(t: float) -> float:
    """E |X_t| in 64 dimensions."""
    chi = 2**0.5 * torch.exp(torch.lgamma(torch.tensor((SIZE + 1) / 2)) - torch.lgamma(torch.tensor(SIZE / 2)))
    return float(chi) * (t**2 * DEVIATION**2 + (1 - t) ** 2) ** 0.5


def test_local_linear_follows_the_marginals_and_euler_starts_too_long():
    found = {name: norms(Gaussian(), scheme(name, 50), 600, 3, "cpu") for name in ("local-linear", "euler")}
    for name, (sde, ode) in found.items():
        assert sde.shape == ode.shape == (51, 600) and sde.dtype == torch.float64, name
        for k in (0, 10, 25, 40, 50):
            assert abs(float(ode[k].mean()) / expected(k / 50) - 1) < 0.03
    linear, euler = (found[n][0].mean(1) for n in ("local-linear", "euler"))
    assert torch.equal(linear[0], euler[0])
    assert all(abs(float(linear[k]) / expected(k / 50) - 1) < 0.06 for k in (1, 5, 25, 50))
    # Its first step forgets X_0 and draws noise of variance 2 (1 + dt) instead of 1.
    assert abs(float(euler[1]) / expected(0.0) / (2 * 1.02) ** 0.5 - 1) < 0.03


def test_norms_do_not_depend_on_the_batch(monkeypatch):
    whole = norms(Gaussian(), scheme("local-linear", 10), 30, 0, "cpu")
    monkeypatch.setattr("drlbench.stages.trajectory.BATCH", 7)
    parts = norms(Gaussian(), scheme("local-linear", 10), 30, 0, "cpu")
    assert torch.allclose(whole[0], parts[0], rtol=1e-5) and torch.allclose(whole[1], parts[1], rtol=1e-5)


def laid_out(folder: Path, *overrides: str) -> Plan:
    path = folder / "suite.yaml"
    path.write_text(SUITE)
    return lay_out(load_suite(path, overrides))


def test_only_adjoint_matching_is_recorded_and_no_other_key_changes(tmp_path):
    without, with_ = laid_out(tmp_path), laid_out(tmp_path, "trajectory_samples=8")
    added = [with_.nodes[k] for k in with_.nodes.keys() - without.nodes.keys()]
    assert [n.kind for n in added] == ["trajectory"] and without.nodes.keys() < with_.nodes.keys()
    assert [c.cell.run for c in with_.cells if c.trajectory is not None] == ["prl"]


def test_the_stage_keeps_both_models_under_the_cells_integrator(tmp_path):
    plan = laid_out(tmp_path, "trajectory_samples=8", "algorithms.am.integrator=euler")
    key = next(k for k, n in plan.nodes.items() if n.kind == "trajectory")
    (tmp_path / "store").mkdir()
    curve = json.loads((make(plan, key, tmp_path / "store") / "curve.json").read_text())
    assert curve["step"] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert set(curve["series"]) == {p + n for p in ("", "base_") for n in ("norm", "norm/error", "ode")}
    assert curve["series"]["norm"] != curve["series"]["base_norm"]
    assert curve["series"]["base_norm"][1] > 1.3 * curve["series"]["base_ode"][1]  # Euler's first step


@pytest.mark.parametrize("integrator", ["local-linear", "euler"])
def test_another_integrator_is_another_key(tmp_path, integrator):
    plans = [
        laid_out(tmp_path, "trajectory_samples=8", f"algorithms.am.integrator={i}")
        for i in (integrator, "local-linear")
    ]
    keys = [next(k for k, n in p.nodes.items() if n.kind == "trajectory") for p in plans]
    assert (keys[0] == keys[1]) == (integrator == "local-linear")
