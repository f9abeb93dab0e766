"""The integrators against an independent float64 derivation, autograd and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from torch import Tensor

from drlbench.errors import UserError
from drlbench.flow.memoryless import PathNoise, lean_adjoint, rollout, scheme
from drlbench.seeds import derive_seed


@pytest.mark.parametrize("steps", [5, 20, 100])
@pytest.mark.parametrize("noise_scale", [1.0, 2.0])
def test_local_linear_coefficients_are_the_exact_solution_of_the_offset_sde(steps: int, noise_scale: float) -> None:
    """Solve dX = [2v - X/u] dt + sigma dB with v held, by quadrature of the variation-of-constants formula."""
    table, dt = scheme("local-linear", steps, noise_scale), 1 / steps
    for k in range(steps - 1):
        low, high = k * dt, (k + 1) * dt

        def transfer(s: float, end: float = high) -> float:
            return math.exp(-quad(lambda r: 1 / (r + dt), s, end)[0])

        assert table.keep[k] == pytest.approx(transfer(low), rel=1e-10)
        drive = quad(lambda s: 2 * transfer(s), low, high, epsabs=1e-13)[0]
        variance = quad(lambda s: transfer(s) ** 2 * noise_scale**2 * 2 * (1 - s + dt) / (s + dt), low, high)[0]
        assert table.drive[k] == pytest.approx(drive, rel=1e-9)
        assert table.spread[k] == pytest.approx(math.sqrt(variance), rel=1e-7)
        assert table.sigma[k] == pytest.approx(noise_scale * math.sqrt(2 * (1 - low + dt) / (low + dt)), rel=1e-12)
        assert table.adjoint_keep[k] == pytest.approx(transfer(low), rel=1e-10)
        assert table.adjoint_drive[k] == pytest.approx(2 * dt * transfer(low), rel=1e-10)
    assert (table.keep[-1], table.spread[-1]) == (1.0, 0.0)
    assert table.drive[-1] == pytest.approx(dt)
    # The adjoint has no deterministic last step.
    assert table.adjoint_keep[-1] == pytest.approx(1 / (1 + dt))


def test_euler_step_is_the_written_update() -> None:
    table, dt, k = scheme("euler", 10), 0.1, 3
    x, v, xi, tk = 0.7, -0.4, 1.3, 0.3
    written = x + (2 * v - x / (tk + dt)) * dt + math.sqrt(2 * (1 - tk + dt) * dt / (tk + dt)) * xi
    assert table.keep[k] * x + table.drive[k] * v + table.spread[k] * xi == pytest.approx(written, rel=1e-12)
    a, j = 1.1, 0.6
    back = a + dt * (2 * j * a - a / (0.4 + dt))
    assert table.adjoint_keep[k] * a + table.adjoint_drive[k] * j * a == pytest.approx(back, rel=1e-12)


def gaussian_velocity(mean: float, std: float, noise_scale: float = 1.0):  # type: ignore[no-untyped-def]
    def velocity(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        t = t.reshape(-1, *[1] * (x.ndim - 1))
        total = t**2 * std**2 + (1 - t) ** 2 * noise_scale**2
        centred = (x - t * mean) / total
        return mean + (t * std**2 - (1 - t) * noise_scale**2) * centred

    return velocity


@pytest.mark.parametrize("noise_scale", [1.0, 2.0])
def test_the_endpoint_law_is_the_models_and_forgets_the_noise(noise_scale: float) -> None:
    n, table = 20000, scheme("local-linear", 100, noise_scale)
    noise = PathNoise([derive_seed(3)], (n,))
    states = rollout(gaussian_velocity(1.5, 0.6, noise_scale), table, torch.zeros(1, dtype=torch.int64), noise)[:, 0]
    end = states[-1].numpy()
    # Error of the discretisation at K = 100 is of order dt; the Monte-Carlo error is 0.004.
    assert end.mean() == pytest.approx(1.5, abs=0.03)
    assert end.std() == pytest.approx(0.6, abs=0.03)
    assert abs(np.corrcoef(states[0].numpy(), end)[0, 1]) < 0.05


def test_local_linear_norms_follow_the_flow_where_eulers_overshoot() -> None:
    """Figure 13 of the paper in closed form: E|X_t|^2 of the flow is t^2 s^2 + (1 - t)^2 for a centred base."""
    n, steps = 40000, 20
    worst = {}
    for name in ("local-linear", "euler"):
        noise = PathNoise([derive_seed(1)], (n,))
        states = rollout(gaussian_velocity(0.0, 1.0), scheme(name, steps), torch.zeros(1, dtype=torch.int64), noise)
        second = states[:, 0].pow(2).mean(-1)
        t = torch.linspace(0, 1, steps + 1)
        worst[name] = float((second / (t**2 + (1 - t) ** 2) - 1)[: steps // 2].abs().max())
    assert worst["local-linear"] < 0.2 < worst["euler"]


def test_adjoint_matches_autograd_of_the_written_recursion() -> None:
    """With a linear base velocity the Jacobian is constant, so the recursion has a matrix closed form."""
    torch.manual_seed(0)
    matrix = torch.randn(3, 3, dtype=torch.float64) * 0.3

    def velocity(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        return x @ matrix.T.to(x.dtype) * (1 + t[:, None])

    for name in ("local-linear", "euler"):
        table = scheme(name, 7)
        y = torch.zeros(4, dtype=torch.int64)
        states = rollout(velocity, table, y, PathNoise([derive_seed(0, i) for i in range(4)], (3,)))
        terminal = torch.randn(4, 3)
        adjoints, velocities = lean_adjoint(velocity, table, states, y, terminal)
        a = terminal.double()
        for k in reversed(range(7)):
            jacobian = matrix * (1 + (k + 1) / 7)
            a = table.adjoint_keep[k] * a + table.adjoint_drive[k] * a @ jacobian
            assert torch.allclose(adjoints[k].double(), a, rtol=1e-5, atol=1e-6)
            expected = velocity(states[k], torch.full((4,), k / 7), y)
            assert torch.allclose(velocities[k], expected, atol=1e-6)


def test_the_lean_adjoint_tends_to_the_gradient_through_the_sde() -> None:
    """With the policy equal to the base, a(t) is d(-lambda r)/dX_t through the noise-free-drift SDE, K large."""

    def velocity(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        return torch.tanh(x) * (0.5 + t[:, None]) - 0.3 * x

    gaps = []
    for steps in (50, 200):
        table = scheme("local-linear", steps)
        y = torch.zeros(3, dtype=torch.int64)
        seeds = [derive_seed(5, i) for i in range(3)]
        states = rollout(velocity, table, y, PathNoise(seeds, (2,)))
        terminal = -torch.cos(states[-1])
        adjoints, _ = lean_adjoint(velocity, table, states, y, terminal)
        start = steps // 2
        x0 = states[start].clone().requires_grad_()
        x = x0
        for k in range(start, steps):
            kick = states[k + 1] - table.keep[k] * states[k]
            kick = kick - table.drive[k] * velocity(states[k], torch.full((3,), k / steps), y)
            x = table.keep[k] * x + table.drive[k] * velocity(x, torch.full((3,), k / steps), y) + kick
        (exact,) = torch.autograd.grad(-torch.sin(x).sum(), x0)
        gaps.append(float((adjoints[start] - exact).norm() / exact.norm()))
    assert gaps[1] < 0.02
    assert gaps[1] < gaps[0] / 2.5


def test_noise_belongs_to_the_trajectory_not_to_the_batch() -> None:
    seeds = [derive_seed(9, i) for i in range(6)]
    whole = PathNoise(seeds, (2, 3))
    parts = [PathNoise(seeds[:2], (2, 3)), PathNoise(seeds[2:], (2, 3))]
    for _ in range(40):
        assert torch.equal(whole.next(), torch.cat([p.next() for p in parts]))
    assert len({derive_seed(a, b) for a in range(50) for b in range(50)}) == 2500


def test_unknown_integrator_names_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'local-linear'"):
        scheme("local-liner", 10)
    with pytest.raises(UserError, match="at least 2 steps"):
        scheme("euler", 1)
