"""JiT's own sampling: Heun or Euler in pixels.

Shapes: B batch, C channels, H and W latent height and width.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from drlbench.backbones.base import Backbone, Procedure, Request
from drlbench.flow.evaluations import of_method
from drlbench.flow.path import heun_step


class JiTProcedure(Procedure):
    """`num_steps` counts intervals."""

    methods: ClassVar[tuple[str, ...]] = ("heun", "euler")
    usual: ClassVar[tuple[str, int]] = ("heun", 50)

    def sample(self, r: Request) -> Tensor:
        """JiT's guidance interval is open below; every evaluation tests its own time, in float32 as the authors do."""
        grid = torch.linspace(0, 1, r.num_steps + 1)

        def velocity(x: Tensor, t: Tensor) -> Tensor:
            return jit_guided_velocity(r.net, x, t, r.y, r.cfg_scale, r.cfg_interval, r.net.time_floor)

        x = r.net.noise_scale * r.noise
        for index in range(r.num_steps):
            t, t_next = grid[index], grid[index + 1]
            dt = (t_next - t).to(x.device)
            if r.method == "euler" or index == r.num_steps - 1:
                x = x + dt * velocity(x, t)
            else:
                x = heun_step(velocity, x, t, t_next, dt)
        return x

    def evaluations(self, method: str, steps: int) -> int:
        return of_method(method, steps)

    def to_uint8(self, images: Tensor) -> Tensor:
        return ((images + 1) / 2 * 255).clamp(0, 255).round().to(torch.uint8)


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
