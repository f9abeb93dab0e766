"""Each backbone's own sampling procedure, step for step, in its own time, guidance and rounding.

The procedures are the families' own (`Backbone.official`); here requests to them are checked.

Shapes: B batch, C channels, H and W latent height and width, K noise draws.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from drlbench.backbones.base import Backbone, Procedure, Request
from drlbench.errors import UserError


def official_sample(
    net: Backbone,
    noise: Tensor,
    y: Tensor,
    method: str | None = None,
    num_steps: int | None = None,
    cfg_scale: float = 1.0,
    cfg_interval: tuple[float, float] | None = None,
    sde_noise: Tensor | Callable[[int], Tensor] | None = None,
    guide: Backbone | None = None,
) -> Tensor:
    """Sample from given noise as the backbone's authors do.

    Args:
        net: in its official convention, as `drlbench.create` returns it.
        noise: standard normal (B, C, H, W) float32; a family's noise scale is applied here.
        y: labels (B,) int64.
        method: SiT and RAE torchdiffeq's "euler", "midpoint", "heun2", "heun3", "rk4", "dopri5", "dopri8", "bosh3",
            "fehlberg2", "adaptive_heun", SiT also "sde" or in one word "sde_<Euler|Heun>_<form>_<last step>"; JiT
            "heun", "euler"; REPA "euler", "heun", "sde". "ode_" may stand in front. None takes the authors'
            evaluation: dopri5, heun, sde, euler.
        num_steps: counted as the authors count: grid points for SiT and RAE, intervals for JiT and REPA; None takes
            their number (250, 50, 250, 50).
        cfg_scale: guidance scale; 1 is none. With `guide` the scale of autoguidance.
        cfg_interval: (low, high) in the backbone's own time where guidance acts; SiT has none.
        sde_noise: (K, B or 2 B, C, H, W) standard normal, one per noisy step, or a function that is called for each
            in order.
        guide: a weaker network of the same family (RAE's autoguidance).

    Returns:
        The final latents (B, C, H, W) in noise's dtype.

    Raises:
        UserError: a method, option or shape the backbone's procedure does not have.
    """
    procedure = procedure_of(net)
    name = procedure.named(method or "")
    steps = procedure.usual[1] if num_steps is None else num_steps
    least = max(procedure.least_steps, 2 if name.startswith("sde") else 1)
    if steps < least:
        raise UserError(f"{net.family}: num_steps must be at least {least}, not {steps}")
    if tuple(noise.shape[1:]) != net.latent_shape or y.shape != (len(noise),):
        raise UserError(
            f"{net.family}: noise must be (B, {', '.join(map(str, net.latent_shape))}) and y (B,), "
            f"not {list(noise.shape)} and {list(y.shape)}"
        )
    interval = (0.0, 1.0) if cfg_interval is None else (float(cfg_interval[0]), float(cfg_interval[1]))
    if interval != (0.0, 1.0) and not procedure.interval:
        raise UserError(f"{net.family}'s official procedure has no cfg_interval; its guidance acts at all times")
    if guide is not None and not procedure.autoguidance:
        raise UserError(f"{net.family}'s official procedure has no guide (a weaker network); its guidance is cfg_scale")
    draw = _draws(noise, sde_noise)
    with torch.no_grad():
        request = Request(net, noise, y, name, steps, cfg_scale, interval, draw, guide)
        return procedure.sample(request).to(noise.dtype)


def procedure_of(net: Backbone) -> Procedure:
    """The procedure of a backbone's authors.

    Raises:
        UserError: its family declares none.
    """
    if net.official is None:
        raise UserError(f"{net.family}: has no sampling procedure of its authors; take sampler 'heun'")
    return net.official


def to_uint8_official(net: Backbone, images: Tensor) -> Tensor:
    """uint8 (B, H, W, C) as the authors' scripts round.

    Args:
        images: (B, C, H, W) in the range their decoder gives: [-1, 1], or [0, 1] for RAE.
    """
    return procedure_of(net).to_uint8(images).permute(0, 2, 3, 1).contiguous()


def _draws(noise: Tensor, sde_noise: Tensor | Callable[[int], Tensor] | None) -> Callable[[int], Tensor]:
    def draw(index: int) -> Tensor:
        if callable(sde_noise):
            return sde_noise(index).to(noise)
        if sde_noise is None:
            raise UserError("a stochastic method needs sde_noise, so that it can be repeated")
        if index >= len(sde_noise):
            raise UserError(f"sde_noise holds {len(sde_noise)} draws; noisy step {index + 1} needs one more")
        return sde_noise[index].to(noise)

    return draw
