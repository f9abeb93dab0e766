"""SiT's own sampling: torchdiffeq's solvers, or the SDEs of arXiv 2401.08740.

Shapes: B batch, C channels, H and W latent height and width.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

import torch
from torch import Tensor

from drlbench.backbones.base import Procedure, Request
from drlbench.flow.evaluations import of_method
from drlbench.flow.ode import SOLVERS, integrate
from drlbench.flow.sde import SDE, Path

PATH = Path("linear")
SDE_NAME = re.compile(r"sde_(euler|heun)(?:_([a-z-]+)_(mean|euler|tweedie|none))?", re.IGNORECASE)


class SiTProcedure(Procedure):
    """`num_steps` counts grid points. An SDE is "sde" or in one word "sde_<Euler|Heun>_<form>_<last step>"."""

    methods: ClassVar[tuple[str, ...]] = (*SOLVERS, "sde", "sde_euler", "sde_heun")
    usual: ClassVar[tuple[str, int]] = ("dopri5", 250)
    least_steps: ClassVar[int] = 2
    interval: ClassVar[bool] = False

    def named(self, method: str) -> str:
        return method.lower() if SDE_NAME.fullmatch(method) else super().named(method)

    def sample(self, r: Request) -> Tensor:
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

        if r.method.startswith("sde"):
            final = _sde(r.method).sample(PATH, velocity, x, r.num_steps, draw)
        else:
            final = integrate(velocity, x, torch.linspace(0, 1, r.num_steps), r.method)
        return final[: len(r.noise)]

    def evaluations(self, method: str, steps: int) -> int:
        if method.startswith("sde"):
            return of_method("heun" if method.startswith("sde_heun") else "euler", steps)
        return of_method(method, steps - 1)

    def to_uint8(self, images: Tensor) -> Tensor:
        return (127.5 * images + 128.0).clamp(0, 255).to(torch.uint8)


def _sde(name: str) -> SDE:
    """The stochastic sampler of a name; by default the authors': Euler, sigma, a mean step last."""
    parts = SDE_NAME.fullmatch(name)
    method, form, last = parts.groups() if parts else (None, None, None)
    return SDE(method or "Euler", form or "sigma", last_step=last or "Mean")
