"""Each backbone's own sampling procedure, step for step, in its own time, guidance and rounding.

`num_steps` counts as the backbone's authors count: grid points for SiT and RAE, intervals for JiT and REPA.

Shapes: B batch, C channels, H and W latent height and width, K noise draws.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from drlbench.backbones.base import Backbone
from drlbench.errors import UserError, did_you_mean
from drlbench.sampling.ode import integrate
from drlbench.sampling.sde import SDE, Path, score_from_velocity

FIXED = ("euler", "midpoint", "heun2", "heun3", "rk4", "dopri5")  # torchdiffeq's, for SiT and RAE
SDES = ("sde", "sde_euler", "sde_heun")
# Method and number of steps of the authors' own evaluation, and the methods their code offers.
DEFAULTS = {"sit": ("dopri5", 250), "jit": ("heun", 50), "repa": ("sde", 250), "rae": ("euler", 50)}
OFFERED = {"sit": (*FIXED, *SDES), "jit": ("heun", "euler"), "repa": ("euler", "heun", "sde"), "rae": FIXED}

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
    net_ag: Backbone | None
    atol: float
    rtol: float

    @property
    def null(self) -> Tensor:
        return torch.full_like(self.y, self.net.num_classes)


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
    net_ag: Backbone | None = None,
    atol: float = 1e-6,
    rtol: float = 1e-3,
) -> Tensor:
    """Sample from given noise as the backbone's authors do.

    Args:
        net: in its official convention, as `drlbench.backbones.create` returns it.
        noise: standard normal (B, C, H, W) float32; JiT's noise scale is applied here.
        y: labels (B,) int64.
        method: SiT and RAE "euler", "midpoint", "heun2", "heun3", "rk4", "dopri5" (torchdiffeq), SiT also "sde" or in
            one word "sde_<Euler|Heun>_<form>_<last step>"; JiT "heun", "euler"; REPA "euler", "heun", "sde". "ode_"
            may stand in front. None takes the authors' evaluation: dopri5, heun, sde, euler.
        num_steps: None takes the authors' number (250, 50, 250, 50).
        cfg_scale: guidance scale; 1 is none. With `net_ag` the scale of autoguidance.
        cfg_interval: (low, high) in the backbone's own time where guidance acts; SiT has none.
        path_type: "linear" or "gvp" (= "cosine"), for SiT and REPA; None takes what the network was trained on.
        sde_noise: (K, B or 2 B, C, H, W) standard normal, one per noisy step, or a function that is called for each
            in order; None draws from `generator`.
        sde_method, diffusion_form, diffusion_norm, last_step, last_step_size: see `SDE`; SiT only.
        time_dist_shift: RAE's schedule; None takes sqrt(C H W / 4096).
        noise_scale: JiT's; None takes the network's.
        net_ag: RAE's weaker guidance network.
        atol, rtol: tolerances of dopri5.

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
        procedure, cfg_interval=cfg_interval, path_type=path_type, net_ag=net_ag, time_dist_shift=time_dist_shift
    )
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


def _sit(r: Request) -> Tensor:
    """SiT guides three channels of a doubled state, whose second half follows along and is dropped."""
    guided = r.cfg_scale > 1
    x = torch.cat([r.noise, r.noise]) if guided else r.noise
    y = torch.cat([r.y, r.null]) if guided else r.y

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        return r.net.forward_with_cfg(x, t, y, r.cfg_scale) if guided else r.net(x, t, y)  # type: ignore[operator]

    def draw(index: int) -> Tensor:
        noise = r.draw(index)
        return noise if len(noise) == len(x) else torch.cat([noise] * 2)

    if r.method == "sde":
        final = r.sde.sample(Path(r.path), velocity, x, r.num_steps, draw)
    else:
        final = integrate(velocity, x, torch.linspace(0, 1, r.num_steps), r.method, r.atol, r.rtol)
    return final[: len(r.noise)]


def _rae(r: Request) -> Tensor:
    u = torch.linspace(0, RAE_LAST_U, r.num_steps)
    t = 1 - u
    grid = r.time_shift * t / (1 + (r.time_shift - 1) * t)
    low, high = r.cfg_interval

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        if (r.cfg_scale <= 1 and r.net_ag is None) or not bool((t[0] >= low) & (t[0] <= high)):
            return r.net(x, t, r.y)
        if r.net_ag is not None:
            return r.net.forward_with_autoguidance(x, t, r.y, r.cfg_scale, r.net_ag)  # type: ignore[operator]
        both = torch.cat([x, x]), torch.cat([t, t]), torch.cat([r.y, r.null])
        return r.net.forward_with_cfg(*both, r.cfg_scale)[: len(x)]  # type: ignore[operator]

    return integrate(velocity, r.noise, grid, r.method, r.atol, r.rtol)


def _jit(r: Request) -> Tensor:
    """JiT's guidance interval is open below; every evaluation tests its own time, in float32 as the authors do."""
    grid = torch.linspace(0, 1, r.num_steps + 1)

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        return jit_guided_velocity(r.net, x, t, r.y, r.cfg_scale, r.cfg_interval)

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
    net: Backbone, x: Tensor, t: Tensor, y: Tensor, cfg_scale: float, cfg_interval: tuple[float, float]
) -> Tensor:
    """JiT's guided velocity (B, C, H, W) at x and one float32 time t () for the whole batch, labels y (B,)."""
    low, high = cfg_interval
    times = t.to(x).expand(len(x))
    conditional = net.official_velocity(x, times, y)
    if cfg_scale == 1 or not bool((t < high) & ((t > low) | (low == 0))):
        return conditional
    unconditional = net.official_velocity(x, times, torch.full_like(y, net.num_classes))
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
    }
    for option, value in options.items():
        if value is not None and procedure not in has[option]:
            raise UserError(
                f"{procedure}'s official procedure has no {option}; it is an option of {', '.join(has[option])}"
            )
