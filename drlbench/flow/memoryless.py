"""The memoryless SDE of adjoint matching and its two discretisations (paper, section on the integrator).

dX = [2 v(X, t) - X/t] dt + sigma(t) dB with sigma(t) = s sqrt(2 (1 - t)/t) has the same marginals as the flow
ODE and makes X_1 independent of X_0. Both discretisations are linear in the state, the velocity and the noise,
so a `Scheme` is a table of coefficients, computed once in float64.

Shapes: K steps, B batch, C channels, H and W height and width. States are K-first, so that all rows of some
chosen timesteps are one gather.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from drlbench.errors import UserError, did_you_mean
from drlbench.flow.path import Velocity


@dataclass(frozen=True)
class Scheme:
    """Coefficients of one discretisation on t_k = k/K; every tuple is indexed by k.

    Forward:  X_{k+1} = keep_k X_k + drive_k v(X_k, t_k) + spread_k xi_k, xi_k ~ N(0, I). The last step,
    K-1 -> K, is a deterministic denoise: keep 1, drive 1 - t_{K-1}, spread 0.
    Backward: a_k = adjoint_keep_k a_{k+1} + adjoint_drive_k (d v_base/dx (X_{k+1}, t_{k+1}))^T a_{k+1}.
    `sigma` is the diffusion coefficient of the control cost at (X_k, t_k).
    """

    name: str
    steps: int
    noise_scale: float
    t: tuple[float, ...]
    keep: tuple[float, ...]
    drive: tuple[float, ...]
    spread: tuple[float, ...]
    adjoint_keep: tuple[float, ...]
    adjoint_drive: tuple[float, ...]
    sigma: tuple[float, ...]


def _last_step_denoises(keep: list[float], drive: list[float], spread: list[float], t_last: float) -> None:
    keep[-1], drive[-1], spread[-1] = 1.0, 1.0 - t_last, 0.0


def local_linear(steps: int, noise_scale: float = 1.0) -> Scheme:
    """The paper's integrator: the linear part -X/t is solved exactly on every step, the velocity is held.

    With u(t) = t + delta, delta = eps = 1/K: Phi_k = u_k/u_{k+1}, Omega_k = u_{k+1} (1 - Phi_k^2),
    V_k = (1 + delta + eps)(1 - Phi_k^2) - (2/3)(u_{k+1} - Phi_k^2 u_k), sigma_k = sqrt(2 (1 - t_k + eps)/u_k).
    A backbone whose noise has scale s takes V_k s^2 and sigma_k s.
    """
    dt = 1.0 / steps
    t = [k / steps for k in range(steps + 1)]
    u = [tk + dt for tk in t]
    phi = [u[k] / u[k + 1] for k in range(steps)]
    omega = [u[k + 1] * (1 - phi[k] ** 2) for k in range(steps)]
    variance = [(1 + 2 * dt) * (1 - phi[k] ** 2) - (2 / 3) * (u[k + 1] - phi[k] ** 2 * u[k]) for k in range(steps)]
    spread = [noise_scale * math.sqrt(value) for value in variance]
    sigma = [noise_scale * math.sqrt(2 * (1 - t[k] + dt) / u[k]) for k in range(steps)]
    keep, drive = list(phi), list(omega)
    _last_step_denoises(keep, drive, spread, t[steps - 1])
    adjoint_drive = [2 * dt * value for value in phi]
    return Scheme(
        "local-linear", steps, noise_scale, tuple(t), tuple(keep), tuple(drive), tuple(spread),
        tuple(phi), tuple(adjoint_drive), tuple(sigma),
    )  # fmt: skip


def euler(steps: int, noise_scale: float = 1.0) -> Scheme:
    """Euler-Maruyama with offsets, the baseline the paper compares with.

    X_{k+1} = X_k + (2 v - X_k/(t_k + dt)) dt + sqrt(2 (1 - t_k + dt) dt/(t_k + dt)) xi_k;
    a_k = a_{k+1} + dt (2 (d v_base/dx)^T a_{k+1} - a_{k+1}/u_{k+1}), u_{k+1} = t_{k+1} + dt.
    """
    dt = 1.0 / steps
    t = [k / steps for k in range(steps + 1)]
    u = [tk + dt for tk in t]
    keep = [1 - dt / u[k] for k in range(steps)]
    drive = [2 * dt] * steps
    sigma = [noise_scale * math.sqrt(2 * (1 - t[k] + dt) / u[k]) for k in range(steps)]
    spread = [value * math.sqrt(dt) for value in sigma]
    _last_step_denoises(keep, drive, spread, t[steps - 1])
    adjoint_keep = [1 - dt / u[k + 1] for k in range(steps)]
    return Scheme(
        "euler", steps, noise_scale, tuple(t), tuple(keep), tuple(drive), tuple(spread),
        tuple(adjoint_keep), tuple([2 * dt] * steps), tuple(sigma),
    )  # fmt: skip


INTEGRATORS: dict[str, Callable[[int, float], Scheme]] = {"local-linear": local_linear, "euler": euler}


@cache
def scheme(name: str, steps: int, noise_scale: float = 1.0) -> Scheme:
    """The coefficients of a named integrator.

    Raises:
        UserError: the name is unknown, or fewer than two steps are asked for.
    """
    if name not in INTEGRATORS:
        raise UserError(
            f"unknown integrator '{name}'{did_you_mean(name, INTEGRATORS)}; valid: {', '.join(INTEGRATORS)}"
        )
    if steps < 2:
        raise UserError(f"the memoryless SDE needs at least 2 steps, got {steps}")
    return INTEGRATORS[name](steps, noise_scale)


class PathNoise:
    """Standard normal draws of a batch of trajectories, each from its own seed.

    A trajectory's noise depends on its seed and the shape only, so it is the same whatever batch or rank it
    is simulated in. Draws are made on `device`; CPU and CUDA generators give different numbers.
    """

    def __init__(self, seeds: Sequence[int], shape: tuple[int, ...], device: torch.device | str = "cpu") -> None:
        self.shape = tuple(shape)
        self.device = torch.device(device)
        self.generators = [torch.Generator(self.device).manual_seed(seed) for seed in seeds]
        # Small latents: one call yields many steps. The block depends on the shape only, never on the batch.
        self.block = max(1, min(8, 65536 // max(1, math.prod(self.shape))))
        self.ready: list[Tensor] = []

    def next(self) -> Tensor:
        """The next draw, (B, *shape) float32."""
        if not self.ready:
            size = (self.block, *self.shape)
            drawn = torch.stack([torch.randn(size, generator=g, device=self.device) for g in self.generators], 1)
            self.ready = list(drawn.unbind(0))[::-1]
        return self.ready.pop()


def rollout(velocity: Velocity, table: Scheme, y: Tensor, noise: PathNoise) -> Tensor:
    """Simulate the memoryless SDE without gradient.

    Returns:
        States (K + 1, B, C, H, W) float32; the last one is the denoised endpoint.
    """
    x = table.noise_scale * noise.next()  # (B, C, H, W)
    states = torch.empty((table.steps + 1, *x.shape), device=x.device, dtype=x.dtype)
    times = torch.tensor(table.t, device=x.device, dtype=x.dtype)
    states[0] = x
    with torch.no_grad():
        for k in range(table.steps):
            v = velocity(states[k], times[k].expand(len(x)), y).float()
            torch.mul(states[k], table.keep[k], out=states[k + 1])
            states[k + 1].add_(v, alpha=table.drive[k])
            if table.spread[k] > 0:
                states[k + 1].add_(noise.next(), alpha=table.spread[k])
    return states


def lean_adjoint(
    velocity: Velocity, table: Scheme, states: Tensor, y: Tensor, terminal: Tensor
) -> tuple[Tensor, Tensor]:
    """The lean adjoint along given states, under the frozen base velocity.

    Args:
        velocity: base velocity; its parameters must not require gradients.
        states: (K + 1, B, C, H, W) from `rollout`.
        terminal: a_K = -lambda grad_x r(X_K), (B, C, H, W).

    Returns:
        Adjoints a_0 .. a_{K-1} and base velocities v_base(X_k, t_k), both (K, B, C, H, W) float32. The
        velocities at k >= 1 fall out of the vector-Jacobian products; only k = 0 costs a forward of its own.
    """
    steps = table.steps
    times = torch.tensor(table.t, device=states.device, dtype=states.dtype)
    adjoints = torch.empty_like(states[:-1])
    velocities = torch.empty_like(states[:-1])
    a = terminal
    for k in reversed(range(steps)):
        x = states[k + 1].detach().requires_grad_()
        with torch.enable_grad():
            v = velocity(x, times[k + 1].expand(x.shape[0]), y).float()
            (pulled,) = torch.autograd.grad(v, x, a)
        if k + 1 < steps:
            velocities[k + 1] = v.detach()
        a = torch.add(table.adjoint_keep[k] * a, pulled, alpha=table.adjoint_drive[k])
        adjoints[k] = a
    with torch.no_grad():
        velocities[0] = velocity(states[0], times[0].expand(states.shape[1]), y).float()
    return adjoints, velocities
