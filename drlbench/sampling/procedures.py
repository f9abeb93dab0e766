"""What each backbone's authors do to sample, step for step, in their own time, guidance and order of operations.

Shapes: B batch, C channels, H and W latent height and width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from drlbench.backbones.base import Backbone
from drlbench.flow.ode import integrate
from drlbench.flow.sde import SDE, Path, score_from_velocity

RAE_LAST_U = 0.999  # RAE's grid stops here, so the state it decodes still holds a little noise
REPA_LAST_T = 0.04  # REPA's SDE: the last step, without noise, starts here


@dataclass(frozen=True)
class Request:
    """What `official_sample` was asked for, with the backbone's defaults filled in."""

    net: Backbone
    noise: Tensor
    y: Tensor
    method: str
    num_steps: int
    cfg_scale: float
    cfg_interval: tuple[float, float]
    path: str
    draw: Callable[[int], Tensor]
    sde: SDE
    time_shift: float
    noise_scale: float
    t_eps: float
    net_ag: Backbone | None
    atol: float
    rtol: float

    @property
    def null(self) -> Tensor:
        return torch.full_like(self.y, self.net.num_classes)


def _sit(r: Request) -> Tensor:
    """SiT guides three channels of a doubled state, whose second half follows along and is dropped."""
    net: Any = r.net  # its guidance is no part of the protocol
    guided = r.cfg_scale > 1
    x = torch.cat([r.noise, r.noise]) if guided else r.noise
    y = torch.cat([r.y, r.null]) if guided else r.y

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        return net.forward_with_cfg(x, t, y, r.cfg_scale) if guided else net(x, t, y)

    def draw(index: int) -> Tensor:
        noise = r.draw(index)
        return noise if len(noise) == len(x) else torch.cat([noise] * 2)

    if r.method == "sde":
        final = r.sde.sample(Path(r.path), velocity, x, r.num_steps, draw)
    else:
        final = integrate(velocity, x, torch.linspace(0, Path(r.path).end, r.num_steps), r.method, r.atol, r.rtol)
    return final[: len(r.noise)]


def _rae(r: Request) -> Tensor:
    u = torch.linspace(0, RAE_LAST_U, r.num_steps)
    t = 1 - u
    grid = r.time_shift * t / (1 + (r.time_shift - 1) * t)
    low, high = r.cfg_interval
    net: Any = r.net  # its guidance is no part of the protocol

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        if (r.cfg_scale <= 1 and r.net_ag is None) or not bool((t[0] >= low) & (t[0] <= high)):
            return net(x, t, r.y)
        if r.net_ag is not None:
            return net.forward_with_autoguidance(x, t, r.y, r.cfg_scale, r.net_ag)
        both = torch.cat([x, x]), torch.cat([t, t]), torch.cat([r.y, r.null])
        return net.forward_with_cfg(*both, r.cfg_scale)[: len(x)]

    return integrate(velocity, r.noise, grid, r.method, r.atol, r.rtol)


def _jit(r: Request) -> Tensor:
    """JiT's guidance interval is open below; every evaluation tests its own time, in float32 as the authors do."""
    grid = torch.linspace(0, 1, r.num_steps + 1)

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        return jit_guided_velocity(r.net, x, t, r.y, r.cfg_scale, r.cfg_interval, r.t_eps)

    x = r.noise_scale * r.noise
    for index in range(r.num_steps):
        t, t_next = grid[index], grid[index + 1]
        dt = (t_next - t).to(x.device)
        first = velocity(x, t)
        if r.method == "euler" or index == r.num_steps - 1:
            x = x + dt * first
        else:
            x = x + dt * (0.5 * (first + velocity(x + dt * first, t_next)))
    return x


def jit_guided_velocity(
    net: Backbone,
    x: Tensor,
    t: Tensor,
    y: Tensor,
    cfg_scale: float,
    cfg_interval: tuple[float, float],
    t_eps: float = 0.05,
) -> Tensor:
    """JiT's guided velocity (B, C, H, W) at x and one float32 time t () for the whole batch, labels y (B,)."""
    low, high = cfg_interval
    times = t.to(x).expand(len(x))

    def velocity(labels: Tensor) -> Tensor:
        return (net(x, times, labels) - x) / (1 - times).clamp(min=t_eps)[:, None, None, None]

    conditional = velocity(y)
    if cfg_scale == 1 or not bool((t < high) & ((t > low) | (low == 0))):
        return conditional
    unconditional = velocity(torch.full_like(y, net.num_classes))
    return unconditional + cfg_scale * (conditional - unconditional)


def _repa(r: Request) -> Tensor:
    """REPA keeps time and state in float64 and runs the network in float32; time falls from noise at 1."""
    path = Path(r.path, data_at=0)
    low, high = r.cfg_interval

    def drift(x: Tensor, t: Tensor, t_guidance: Tensor) -> Tensor:
        guided = r.cfg_scale > 1 and bool((t_guidance >= low) & (t_guidance <= high))
        state = torch.cat([x, x]) if guided else x
        times = t.to(x.device).expand(len(state))
        labels = torch.cat([r.y, r.null]) if guided else r.y
        v = r.net(state.to(r.noise.dtype), times.to(r.noise.dtype), labels).double()
        if r.method == "sde":
            v = v - t * score_from_velocity(path, v, state, times)
        if not guided:
            return v
        conditional, unconditional = v.chunk(2)
        return unconditional + r.cfg_scale * (conditional - unconditional)

    x = r.noise.double()
    if r.method == "sde":
        grid = torch.cat([torch.linspace(1, REPA_LAST_T, r.num_steps, dtype=torch.float64), torch.zeros(1).double()])
        for index in range(r.num_steps):
            t, dt = grid[index], grid[index + 1] - grid[index]
            x = x + drift(x, t, t) * dt
            if index < r.num_steps - 1:
                x = x + torch.sqrt(2 * t) * torch.sqrt(-dt) * r.draw(index).double()
        return x
    grid = torch.linspace(1, 0, r.num_steps + 1, dtype=torch.float64)
    for index in range(r.num_steps):
        t, t_next = grid[index], grid[index + 1]
        first = drift(x, t, t)
        if r.method == "euler" or index == r.num_steps - 1:
            x = x + (t_next - t) * first
        else:
            second = drift(x + (t_next - t) * first, t_next, t)  # guidance follows the step's first time
            x = x + (t_next - t) * (0.5 * first + 0.5 * second)
    return x


PROCEDURES: dict[str, Callable[[Request], Tensor]] = {"sit": _sit, "jit": _jit, "repa": _repa, "rae": _rae}
