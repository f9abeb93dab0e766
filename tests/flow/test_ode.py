"""The harness's samplers: order, number of evaluations, schedule, guidance."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from drlbench.backbones.base import PixelRange, VelocityModel
from drlbench.errors import UserError
from drlbench.flow.ode import SAMPLERS, sampler, time_grid
from drlbench.sampling.guidance import Autoguidance, ClassifierFree


class Labelled(VelocityModel):
    """Velocity = label, 100 for no label; remembers the batch sizes it saw."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.net, self.autoencoder = nn.Identity(), PixelRange()
        self.latent_shape, self.num_classes = (1, 2, 2), 100
        self.seen: list[int] = []
        self.factor = factor

    def velocity(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        self.seen.append(len(x))
        return self.factor * y[:, None, None, None].float().expand_as(x)


def solve(name: str, steps: int) -> tuple[float, int]:
    """Error for dx/dt = x + t from 1, and evaluations."""
    count = 0

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        nonlocal count
        count += 1
        return x + t[:, None, None, None]

    x = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    return abs(sampler(name)(velocity, x, time_grid(steps)).item() - (2 * math.e - 2)), count


def test_order_and_evaluations() -> None:
    (coarse, n), (fine, _) = solve("euler", 20), solve("euler", 40)
    assert n == 20
    assert coarse / fine == pytest.approx(2, rel=0.05)
    error, n = solve("heun", 50)
    assert n == 99
    assert error < solve("euler", 50)[0] / 10
    error, n = solve("dopri5", 50)
    assert error < 1e-3
    assert n < 40


def test_last_step_of_heun_is_euler() -> None:
    times: list[float] = []

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        times.append(round(t[0].item(), 6))
        return x

    SAMPLERS["heun"](velocity, torch.ones(2, 1, 1, 1), time_grid(3))
    assert times == [0.0, 0.333333, 0.333333, 0.666667, 0.666667]


def test_shifted_schedule_is_raes_in_our_time() -> None:
    # RAE: t' = 1 - u, t' <- a t' / (1 + (a - 1) t'), time from the data.
    alpha, u = math.sqrt(768 * 16 * 16 / 4096), torch.linspace(0, 1, 50, dtype=torch.float64)
    official = alpha * (1 - u) / (1 + (alpha - 1) * (1 - u))
    torch.testing.assert_close(time_grid(49, alpha), 1 - official)
    grid = time_grid(10, 3.0)
    assert grid[0] == 0
    assert grid[-1] == 1
    assert (grid.diff() > 0).all()


def test_classifier_free_guidance_and_its_interval() -> None:
    model = Labelled()
    x, y = torch.zeros(2, 1, 2, 2), torch.tensor([1, 2])
    guided = ClassifierFree(3.0, 0.1, 0.5).velocity(model)
    inside = guided(x, torch.full((2,), 0.3), y)
    assert inside[:, 0, 0, 0].tolist() == [100 + 3 * (1 - 100), 100 + 3 * (2 - 100)]
    for t, batch in ((0.05, 2), (0.1, 4), (0.5, 4), (0.51, 2)):
        model.seen.clear()
        out = guided(x, torch.full((2,), t), y)
        assert model.seen == [batch]
        assert (out[:, 0, 0, 0].tolist() == [1.0, 2.0]) == (batch == 2)


def test_scale_one_asks_for_no_unlabelled_velocity() -> None:
    model = Labelled()
    ClassifierFree(1.0).velocity(model)(torch.zeros(2, 1, 2, 2), torch.zeros(2), torch.tensor([1, 2]))
    assert model.seen == [2]


def test_autoguidance() -> None:
    tuned, base = Labelled(2.0), Labelled(1.0)
    out = Autoguidance(base, 1.5).velocity(tuned)(torch.zeros(1, 1, 2, 2), torch.zeros(1), torch.tensor([4]))
    assert (out == 4 + 1.5 * (8 - 4)).all()


def test_bad_input() -> None:
    with pytest.raises(UserError, match=r"unknown sampler 'huen' \(did you mean 'heun'"):
        sampler("huen")
    with pytest.raises(UserError, match="at least 1 step, not 0"):
        time_grid(0)
    with pytest.raises(UserError, match=r"interval \[0.5, 0.1\]"):
        ClassifierFree(2.0, 0.5, 0.1)
