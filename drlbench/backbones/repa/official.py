"""REPA's own sampling: Heun, Euler or an SDE, in float64.

Shapes: B batch, C channels, H and W latent height and width.
"""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from drlbench.backbones.base import Procedure, Request
from drlbench.flow.evaluations import of_method
from drlbench.flow.path import heun_step
from drlbench.flow.sde import Path, score_from_velocity

REPA_LAST_T = 0.04  # the SDE's last step, without noise, starts here


class REPAProcedure(Procedure):
    """`num_steps` counts intervals; of the SDE noisy steps and the last one."""

    methods: ClassVar[tuple[str, ...]] = ("euler", "heun", "sde")
    usual: ClassVar[tuple[str, int]] = ("sde", 250)
    data_at: ClassVar[int] = 0

    def sample(self, r: Request) -> Tensor:
        """REPA keeps time and state in float64 and runs the network in float32; time falls from noise at 1."""
        net: Any = r.net  # its path is no part of the protocol
        path = Path(net.path_type, data_at=0)
        low, high = r.cfg_interval

        def drift(x: Tensor, t: Tensor, t_guidance: Tensor) -> Tensor:
            guided = r.cfg_scale > 1 and bool((t_guidance >= low) & (t_guidance <= high))
            state = torch.cat([x, x]) if guided else x
            times = t.to(x.device).expand(len(state))
            labels = torch.cat([r.y, r.null]) if guided else r.y
            v = net(state.to(r.noise.dtype), times.to(r.noise.dtype), labels).double()
            if r.method == "sde":
                v = v - t * score_from_velocity(path, v, state, times)
            if not guided:
                return v
            conditional, unconditional = v.chunk(2)
            return unconditional + r.cfg_scale * (conditional - unconditional)

        x = r.noise.double()
        if r.method == "sde":
            grid = torch.cat(
                [torch.linspace(1, REPA_LAST_T, r.num_steps, dtype=torch.float64), torch.zeros(1).double()]
            )
            for index in range(r.num_steps):
                t, dt = grid[index], grid[index + 1] - grid[index]
                x = x + drift(x, t, t) * dt
                if index < r.num_steps - 1:
                    x = x + torch.sqrt(2 * t) * torch.sqrt(-dt) * r.draw(index).double()
            return x
        grid = torch.linspace(1, 0, r.num_steps + 1, dtype=torch.float64)
        for index in range(r.num_steps):
            t, t_next = grid[index], grid[index + 1]
            step = partial(drift, t_guidance=t)  # guidance follows the step's first time
            if r.method == "euler" or index == r.num_steps - 1:
                x = x + (t_next - t) * step(x, t)
            else:
                x = heun_step(step, x, t, t_next, t_next - t)
        return x

    def evaluations(self, method: str, steps: int) -> int:
        return of_method("euler" if method == "sde" else method, steps)

    def to_uint8(self, images: Tensor) -> Tensor:
        return (255.0 * ((images + 1) / 2)).clamp(0, 255).to(torch.uint8)
