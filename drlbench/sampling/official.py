"""Each backbone's own sampling procedure, step for step, in its own time, guidance and rounding.

`num_steps` counts as the backbone's authors count: grid points for SiT and RAE, intervals for JiT and REPA.

Shapes: B batch, C channels, H and W latent height and width, K noise draws.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import torch
from torch import Tensor, nn

from drlbench.backbones.base import Backbone
from drlbench.errors import UserError, did_you_mean
from drlbench.flow.sde import SDE
from drlbench.sampling.counts import DEFAULTS
from drlbench.sampling.procedures import PROCEDURES, Request

# torchdiffeq's, for SiT and RAE: first those that step from grid time to grid time, then the adaptive ones.
SOLVERS = ("euler", "midpoint", "heun2", "heun3", "rk4", "dopri5", "dopri8", "bosh3", "fehlberg2", "adaptive_heun")
SDES = ("sde", "sde_euler", "sde_heun")
# The methods the authors' code offers.
OFFERED = {"sit": (*SOLVERS, *SDES), "jit": ("heun", "euler"), "repa": ("euler", "heun", "sde"), "rae": SOLVERS}


def official_sample(
    net: Backbone,
    noise: Tensor,
    y: Tensor,
    method: str | None = None,
    num_steps: int | None = None,
    cfg_scale: float = 1.0,
    cfg_interval: tuple[float, float] | None = None,
    *,
    path_type: str | None = None,
    sde_noise: Tensor | Callable[[int], Tensor] | None = None,
    generator: torch.Generator | None = None,
    sde_method: str | None = None,
    diffusion_form: str | None = None,
    diffusion_norm: float = 1.0,
    last_step: str | None = None,
    last_step_size: float = 0.04,
    time_dist_shift: float | None = None,
    noise_scale: float | None = None,
    t_eps: float | None = None,
    net_ag: Backbone | None = None,
    atol: float = 1e-6,
    rtol: float = 1e-3,
) -> Tensor:
    """Sample from given noise as the backbone's authors do.

    Args:
        net: in its official convention, as `drlbench.backbones.create` returns it.
        noise: standard normal (B, C, H, W) float32; JiT's noise scale is applied here.
        y: labels (B,) int64.
        method: SiT and RAE torchdiffeq's "euler", "midpoint", "heun2", "heun3", "rk4", "dopri5", "dopri8", "bosh3",
            "fehlberg2", "adaptive_heun", SiT also "sde" or in one word "sde_<Euler|Heun>_<form>_<last step>"; JiT
            "heun", "euler"; REPA "euler", "heun", "sde". "ode_" may stand in front. None takes the authors'
            evaluation: dopri5, heun, sde, euler.
        num_steps: None takes the authors' number (250, 50, 250, 50).
        cfg_scale: guidance scale; 1 is none. With `net_ag` the scale of autoguidance.
        cfg_interval: (low, high) in the backbone's own time where guidance acts; SiT has none.
        path_type: "linear", "gvp" (= "cosine") or "vp" (SiT only), for SiT and REPA; None takes what the network was
            trained on.
        sde_noise: (K, B or 2 B, C, H, W) standard normal, one per noisy step, or a function that is called for each
            in order; None draws from `generator`.
        sde_method, diffusion_form, diffusion_norm, last_step, last_step_size: see `SDE`; SiT only.
        time_dist_shift: RAE's schedule; None takes sqrt(C H W / 4096).
        noise_scale: JiT's; None takes the network's.
        t_eps: JiT's, the least 1 - t that a velocity is divided by; None takes 0.05.
        net_ag: RAE's weaker guidance network.
        atol, rtol: tolerances of the adaptive methods.

    Returns:
        The final latents (B, C, H, W) in noise's dtype.

    Raises:
        UserError: a method, option or shape the backbone's procedure does not have.
    """
    procedure = net.procedure
    default_method, default_steps = DEFAULTS[procedure]
    name, compound = _parse(procedure, method or default_method)
    steps = default_steps if num_steps is None else num_steps
    least = 2 if procedure in ("sit", "rae") or name == "sde" else 1
    if steps < least:
        raise UserError(f"{procedure}: num_steps must be at least {least}, not {steps}")
    _check_batch(net, noise, y)
    _check_options(
        procedure,
        cfg_interval=None if cfg_interval is None else tuple(cfg_interval),
        path_type=path_type,
        net_ag=net_ag,
        time_dist_shift=time_dist_shift,
        noise_scale=noise_scale,
        t_eps=t_eps,
    )
    if procedure == "repa" and str(path_type).lower() == "vp":
        raise UserError("repa: path_type is 'linear' or 'cosine'; 'vp' is SiT's")
    shift = getattr(net, "time_shift", 1.0) if time_dist_shift is None else time_dist_shift
    if shift < 1:
        raise UserError(f"rae: time_dist_shift must be at least 1, not {shift}")
    sde = SDE(
        sde_method or compound.get("method") or "Euler",
        diffusion_form or compound.get("form") or "sigma",
        diffusion_norm,
        last_step or compound.get("last_step") or "Mean",
        last_step_size,
    )
    request = Request(
        net=net,
        noise=noise,
        y=y,
        method=name,
        num_steps=steps,
        cfg_scale=cfg_scale,
        cfg_interval=(0.0, 1.0) if cfg_interval is None else (float(cfg_interval[0]), float(cfg_interval[1])),
        path=path_type or str(getattr(net, "path_type", "linear")),
        draw=_draws(noise, sde_noise, generator),
        sde=sde,
        time_shift=shift,
        noise_scale=net.noise_scale if noise_scale is None else noise_scale,
        t_eps=net.time_floor if t_eps is None else t_eps,
        net_ag=net_ag,
        atol=atol,
        rtol=rtol,
    )
    with torch.no_grad():
        return PROCEDURES[procedure](request).to(noise.dtype)


def to_uint8_official(net: nn.Module, images: Tensor) -> Tensor:
    """uint8 (B, H, W, 3) as the authors' scripts round.

    Args:
        net: a backbone or the RAE autoencoder.
        images: (B, 3, H, W) in the range the authors' decoder gives: [-1, 1] for SiT, JiT and REPA, [0, 1] for RAE.
    """
    procedure = str(net.procedure)
    if procedure == "sit":
        scaled = (127.5 * images + 128.0).clamp(0, 255)
    elif procedure == "jit":
        scaled = ((images + 1) / 2 * 255).clamp(0, 255).round()
    elif procedure == "repa":
        scaled = (255.0 * ((images + 1) / 2)).clamp(0, 255)
    else:
        scaled = images.clamp(0, 1) * 255
    return scaled.to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def _parse(procedure: str, method: str) -> tuple[str, dict[str, str]]:
    """Method name and, of a compound SDE name, its parts."""
    name = method.lower().removeprefix("ode_")
    compound = re.fullmatch(r"sde_(euler|heun)(?:_([a-z-]+)_(mean|euler|tweedie|none))?", name)
    if procedure == "sit" and compound:
        parts = {"method": compound[1], "form": compound[2], "last_step": compound[3]}
        return "sde", {key: value for key, value in parts.items() if value}
    valid = OFFERED[procedure]
    if name not in valid:
        raise UserError(
            f"{procedure} has no sampling method '{method}'{did_you_mean(name, valid)}; valid: {', '.join(valid)}"
        )
    return name, {}


def _draws(
    noise: Tensor, sde_noise: Tensor | Callable[[int], Tensor] | None, generator: torch.Generator | None
) -> Callable[[int], Tensor]:
    def draw(index: int) -> Tensor:
        if callable(sde_noise):
            return sde_noise(index).to(noise)
        if sde_noise is not None:
            if index >= len(sde_noise):
                raise UserError(f"sde_noise holds {len(sde_noise)} draws; noisy step {index + 1} needs one more")
            return sde_noise[index].to(noise)
        if generator is None:
            raise UserError("a stochastic method needs sde_noise or a generator, so that it can be repeated")
        return torch.randn(noise.shape, generator=generator, device=generator.device, dtype=noise.dtype).to(noise)

    return draw


def _check_batch(net: Backbone, noise: Tensor, y: Tensor) -> None:
    if tuple(noise.shape[1:]) != net.latent_shape or y.shape != (len(noise),):
        raise UserError(
            f"{net.procedure}: noise must be (B, {', '.join(map(str, net.latent_shape))}) and y (B,), "
            f"not {list(noise.shape)} and {list(y.shape)}"
        )


def _check_options(procedure: str, **options: object) -> None:
    has = {
        "cfg_interval": ("jit", "repa", "rae"),
        "path_type": ("sit", "repa"),
        "net_ag": ("rae",),
        "time_dist_shift": ("rae",),
        "noise_scale": ("jit",),
        "t_eps": ("jit",),
    }
    without_effect = {"cfg_interval": (0.0, 1.0), "noise_scale": 1.0}
    for option, value in options.items():
        if value is not None and procedure not in has[option] and value != without_effect.get(option):
            raise UserError(
                f"{procedure}'s official procedure has no {option}; it is an option of {', '.join(has[option])}"
            )
