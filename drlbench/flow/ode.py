"""The harness's own ODE samplers over a velocity model, one signature for all: `sampler(drift, x, grid)`.

Time runs from noise at 0 to data at 1. The state is float32 whatever the network computes in.

Shapes: B batch, C channels, H and W height and width, N steps.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from drlbench.errors import UserError, did_you_mean
from drlbench.flow.path import Drift, heun_step, shift_time

# torchdiffeq's: first those that step from grid time to grid time, then the adaptive ones.
SOLVERS = ("euler", "midpoint", "heun2", "heun3", "rk4", "dopri5", "dopri8", "bosh3", "fehlberg2", "adaptive_heun")


def time_grid(steps: int, time_shift: float = 1.0) -> Tensor:
    """Times 0 = t_0 < ... < t_N = 1, float64, on the schedule of `shift_time`.

    Raises:
        UserError: fewer than one step.
    """
    if steps < 1:
        raise UserError(f"a sampler needs at least 1 step, not {steps}")
    return shift_time(torch.linspace(0, 1, steps + 1, dtype=torch.float64), time_shift)


def euler(drift: Drift, x: Tensor, grid: Tensor) -> Tensor:
    """Euler's method from noise x (B, C, H, W): N evaluations on a grid of N + 1 times."""
    for t, t_next in zip(grid[:-1].tolist(), grid[1:].tolist(), strict=True):
        x = x + (t_next - t) * _at(drift, x, t)
    return x


def heun(drift: Drift, x: Tensor, grid: Tensor) -> Tensor:
    """Heun's method with an Euler step last: 2 N - 1 evaluations on a grid of N + 1 times."""
    times = grid.tolist()
    for t, t_next in pairwise(times[:-1]):
        x = heun_step(lambda x, t: _at(drift, x, t), x, t, t_next, t_next - t)
    return euler(drift, x, grid[-2:])


def dopri5(drift: Drift, x: Tensor, grid: Tensor, atol: float = 1e-6, rtol: float = 1e-3) -> Tensor:
    """Adaptive Dormand-Prince through torchdiffeq; the grid gives only where it starts and ends."""
    return integrate(drift, x, grid[[0, -1]].float(), "dopri5", atol, rtol)


def integrate(drift: Drift, x: Tensor, grid: Tensor, method: str, atol: float = 1e-6, rtol: float = 1e-3) -> Tensor:
    """State at the end of the grid by a method of torchdiffeq; fixed-step methods step from grid time to grid time.

    Args:
        grid: (N + 1,) times, rising or falling.
        method: "euler", "midpoint", "heun2", "heun3", "rk4" or "dopri5".
    """
    from torchdiffeq import odeint

    def field(t: Tensor, x: Tensor) -> Tensor:
        return drift(x, t.to(x).expand(len(x)))

    return odeint(field, x, grid.to(x.device), method=method, atol=atol, rtol=rtol)[-1]


def _at(drift: Drift, x: Tensor, t: float) -> Tensor:
    return drift(x, torch.full((len(x),), t, dtype=torch.float32, device=x.device))


# "paper" is the paper's: Heun in 50 steps, linear in time but for RAE, whose own shifted schedule the model brings.
SAMPLERS: dict[str, Callable[[Drift, Tensor, Tensor], Tensor]] = {
    "euler": euler,
    "heun": heun,
    "dopri5": dopri5,
    "paper": heun,
}


def sampler(name: str) -> Callable[[Drift, Tensor, Tensor], Tensor]:
    """The sampler of that name.

    Raises:
        UserError: unknown name.
    """
    if name not in SAMPLERS:
        raise UserError(f"unknown sampler '{name}'{did_you_mean(name, SAMPLERS)}; valid: {', '.join(SAMPLERS)}")
    return SAMPLERS[name]
