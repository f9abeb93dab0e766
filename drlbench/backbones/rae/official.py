"""RAE's own sampling: torchdiffeq's solvers on the shifted schedule, guided by labels or by a weaker network.

Shapes: B batch, C channels, H and W latent height and width.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from drlbench.backbones.base import Procedure, Request
from drlbench.flow.evaluations import of_method
from drlbench.flow.ode import SOLVERS, integrate

RAE_LAST_U = 0.999  # the grid stops here, so the state that is decoded still holds a little noise


class RAEProcedure(Procedure):
    """`num_steps` counts grid points; the schedule is the network's `time_shift`."""

    methods: ClassVar[tuple[str, ...]] = SOLVERS
    usual: ClassVar[tuple[str, int]] = ("euler", 50)
    least_steps: ClassVar[int] = 2
    autoguidance: ClassVar[bool] = True
    data_at: ClassVar[int] = 0
    decodes_signed: ClassVar[bool] = False

    def sample(self, r: Request) -> Tensor:
        net: Any = r.net  # its guidance and schedule are no part of the protocol
        shift = net.time_shift
        u = torch.linspace(0, RAE_LAST_U, r.num_steps)
        t = 1 - u
        grid = shift * t / (1 + (shift - 1) * t)
        low, high = r.cfg_interval

        def velocity(x: Tensor, t: Tensor) -> Tensor:
            if (r.cfg_scale <= 1 and r.guide is None) or not bool((t[0] >= low) & (t[0] <= high)):
                return net(x, t, r.y)
            if r.guide is not None:
                return net.forward_with_autoguidance(x, t, r.y, r.cfg_scale, r.guide)
            both = torch.cat([x, x]), torch.cat([t, t]), torch.cat([r.y, r.null])
            return net.forward_with_cfg(*both, r.cfg_scale)[: len(x)]

        return integrate(velocity, r.noise, grid, r.method)

    def evaluations(self, method: str, steps: int) -> int:
        return of_method(method, steps - 1)

    def to_uint8(self, images: Tensor) -> Tensor:
        return (images.clamp(0, 1) * 255).to(torch.uint8)
