"""Scores, diffusions and SDE drifts against the official code, and the score against a closed form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from drlbench.backbones import create
from drlbench.errors import UserError
from drlbench.flow.sde import SDE, Path, diffusion, score_from_velocity, sde_drift


def near(out: torch.Tensor, expected: torch.Tensor) -> None:
    tolerance = 1e-5 * max(1.0, expected.abs().max().item())
    torch.testing.assert_close(out, expected, atol=tolerance, rtol=0)


@pytest.mark.parametrize(("name", "data_at"), [("sit", 1), ("rae_dit", 0)])
@torch.no_grad()
def test_drifts_match_the_official_code(golden: Callable[[str], Any], name: str, data_at: int) -> None:
    data = golden(name)
    net = create(name.removesuffix("_dit"), **data.config["args"]).eval()
    net.load_official_state_dict(data.weights)
    path, x, t = Path("linear", data_at), data.io["x"], data.io["drift_t"]
    y = data.io.get("drift_y", data.io["y"])
    v = net(x, t, y)
    torch.testing.assert_close(v, data.io["ode_drift"], atol=5e-6, rtol=0)
    near(score_from_velocity(path, v, x, t), data.io["score"])
    checked = 0
    for form in ("constant", "SBDM", "sigma", "linear", "decreasing"):
        if f"sde_drift_{form}" not in data.io:
            continue
        times = data.io.get("drift_t_sbdm", t) if form == "SBDM" else t
        velocity = net(x, times, y)
        near(diffusion(path, form, times)[:, None, None, None], data.io[f"diffusion_{form}"])
        near(sde_drift(path, form, velocity, x, times), data.io[f"sde_drift_{form}"])
        checked += 1
    assert checked == (5 if name == "sit" else 4)
    if name == "sit":
        times, curved = data.io["drift_t_sbdm"], Path("GVP")
        velocity = net(x, times, y)
        near(score_from_velocity(curved, velocity, x, times), data.io["gvp_score"])
        near(sde_drift(curved, "sigma", velocity, x, times), data.io["gvp_sde_drift_sigma"])


@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_repa_scores_match_the_official_code(golden: Callable[[str], Any], kind: str) -> None:
    io = golden("repa").io
    near(score_from_velocity(Path(kind, 0), io["score_v"], io["x"], io["score_t"]), io[f"score_{kind}"])


@pytest.mark.parametrize("kind", ["linear", "gvp"])
@pytest.mark.parametrize("data_at", [0, 1])
def test_score_of_gaussian_data(kind: str, data_at: int) -> None:
    # Data N(0, 4): x_t is N(0, s2) with s2 = 4 alpha^2 + sigma^2, the score is -x / s2 and the velocity
    # E[alpha' data + sigma' noise | x] = x (4 alpha alpha' + sigma sigma') / s2.
    path = Path(kind, data_at)
    t = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)
    x = torch.randn(3, 1, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    a, da, s, ds = (c[:, None, None, None] for c in path.coefficients(t))
    variance = 4 * a**2 + s**2
    v = x * (4 * a * da + s * ds) / variance
    torch.testing.assert_close(score_from_velocity(path, v, x, t), -x / variance)


@pytest.mark.parametrize("method", ["Euler", "Heun"])
def test_sde_keeps_the_marginals(method: str) -> None:
    # With the exact velocity of N(0, 4) data the samples have that standard deviation.
    path = Path("linear")

    def velocity(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        a, da, s, ds = (c[:, None, None, None] for c in path.coefficients(t))
        return x * (4 * a * da + s * ds) / (4 * a**2 + s**2)

    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 1, 200, 200, generator=generator)
    sde = SDE(method, "sigma", last_step="Mean")
    out = sde.sample(path, velocity, x, 100, lambda _: torch.randn(x.shape, generator=generator))
    assert abs(out.std().item() - 2) < 0.05  # 40,000 draws: standard error 0.007; the rest is the step size


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"form": "sigm"}, "unknown diffusion form 'sigm' .did you mean 'sigma'"),
        ({"method": "rk4"}, "unknown SDE method 'rk4'"),
        ({"last_step": "Meam"}, "unknown last step 'Meam' .did you mean 'Mean'"),
        ({"last_step_size": 1.0}, "last_step_size must lie in"),
    ],
)
def test_bad_settings(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        SDE(**arguments)
    with pytest.raises(UserError, match="unknown path 'edm'"):
        Path("edm")
