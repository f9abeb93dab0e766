"""Interpolant paths, the score behind a velocity, and the stochastic samplers of SiT (arXiv 2401.08740, section 2).

With x_t = alpha(t) data + sigma(t) noise, the SDE dX = [v + w score] dt + sqrt(2 w) dW has the same marginals as the
flow ODE for every diffusion w(t) >= 0.

Shapes: B batch, C channels, H and W height and width, K noise draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from drlbench.errors import UserError, did_you_mean
from drlbench.flow.path import Drift, column, heun_step

PATHS = ("linear", "gvp", "cosine", "vp")  # "cosine" is REPA's name of SiT's "gvp"
VP_BETA = (0.1, 20.0)  # of the variance-preserving path, at the data and at the noise
VP_EPS = 1e-3  # SiT's samplers stop this much before the data on that path, where its sigma' is infinite
FORMS = ("constant", "SBDM", "sigma", "linear", "decreasing", "increasing-decreasing")
LAST_STEPS = ("Mean", "Euler", "Tweedie", "None")
METHODS = ("Euler", "Heun")


def choose(kind: str, name: str, valid: tuple[str, ...]) -> str:
    """`name` as `valid` writes it, upper or lower case.

    Raises:
        UserError: it is none of them.
    """
    for option in valid:
        if option.lower() == str(name).lower():
            return option
    raise UserError(f"unknown {kind} '{name}'{did_you_mean(str(name), valid)}; valid: {', '.join(valid)}")


@dataclass(frozen=True)
class Path:
    """An interpolant between noise and data.

    Attributes:
        kind: "linear" (t, 1 - t), "gvp" = "cosine" (sin, cos of pi t / 2), or "vp", DDPM's: with s the time left to
            the data, alpha = exp(-s^2 (20 - 0.1) / 4 - 0.1 s / 2) and sigma^2 = 1 - alpha^2.
        data_at: 1 when time runs from noise at 0 to data at 1 (SiT), 0 when it runs the other way (REPA, RAE).
    """

    kind: str = "linear"
    data_at: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", choose("path", self.kind, PATHS))

    @property
    def end(self) -> float:
        """Where samplers of a velocity stop, counted from noise at 0 to data at 1."""
        return 1 - VP_EPS if self.kind == "vp" else 1.0

    def progress(self, t: Tensor) -> Tensor:
        """Time counted from noise at 0 to data at 1."""
        return t if self.data_at == 1 else 1 - t

    def coefficients(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """alpha, d alpha / dt, sigma, d sigma / dt, each of t's shape."""
        s = self.progress(t)
        sign = 1 if self.data_at == 1 else -1
        if self.kind == "linear":
            one = torch.ones_like(t)
            return s, sign * one, 1 - s, -sign * one
        if self.kind == "vp":
            low, high = VP_BETA
            alpha = torch.exp(-0.25 * (1 - s) ** 2 * (high - low) - 0.5 * (1 - s) * low)
            d_alpha = sign * alpha * self._half_beta(s)
            sigma = torch.sqrt(1 - alpha**2)
            return alpha, d_alpha, sigma, -alpha * d_alpha / sigma
        angle = s * math.pi / 2
        slope = sign * math.pi / 2
        return angle.sin(), slope * angle.cos(), angle.cos(), -slope * angle.sin()

    @staticmethod
    def _half_beta(s: Tensor) -> Tensor:
        """beta / 2 of the variance-preserving path, which is d log alpha / ds."""
        low, high = VP_BETA
        return 0.5 * (low + (1 - s) * (high - low))

    def sbdm(self, t: Tensor) -> Tensor:
        """The diffusion of score-based models, alpha' / alpha sigma^2 - sigma sigma'; of t's shape.

        Infinite at the noise but on the path "vp", where it is beta / 2. Negative where time runs towards noise, as in
        RAE's official code, which therefore cannot sample with it.
        """
        if self.kind == "vp":
            return (1 if self.data_at == 1 else -1) * self._half_beta(self.progress(t))
        alpha, d_alpha, sigma, d_sigma = self.coefficients(t)
        return d_alpha / alpha * sigma**2 - sigma * d_sigma


def score_from_velocity(path: Path, v: Tensor, x: Tensor, t: Tensor) -> Tensor:
    """Score of x_t (B, C, H, W) from the velocity v (B, C, H, W) at t (B,) (arXiv 2401.08740, equation 9)."""
    alpha, d_alpha, sigma, d_sigma = path.coefficients(column(t, x))
    ratio = alpha / d_alpha
    return (ratio * v - x) / (sigma**2 - ratio * d_sigma * sigma)


def diffusion(path: Path, form: str, t: Tensor, norm: float = 1.0) -> Tensor:
    """Diffusion w(t), of t's shape, for the forms the official samplers name; `norm` scales it.

    Raises:
        UserError: unknown form.
    """
    form = choose("diffusion form", form, FORMS)
    s = path.progress(t)
    if form == "constant":
        return torch.full_like(t, norm)
    if form == "SBDM":
        return norm * path.sbdm(t)
    if form == "sigma":
        return norm * path.coefficients(t)[2]
    if form == "linear":
        return norm * (1 - s)
    if form == "decreasing":
        return 0.25 * (norm * torch.cos(math.pi * s) + 1) ** 2
    return norm * torch.sin(math.pi * s) ** 2


def sde_drift(path: Path, form: str, v: Tensor, x: Tensor, t: Tensor, norm: float = 1.0) -> Tensor:
    """Drift of the SDE at x (B, C, H, W), t (B,), from the velocity v there.

    Time running towards noise, the reverse-time drift v - w score is meant.
    """
    w = diffusion(path, form, column(t, x), norm)
    return v + (w if path.data_at == 1 else -w) * score_from_velocity(path, v, x, t)


@dataclass(frozen=True)
class SDE:
    """SiT's stochastic sampler: `num_steps` grid points make num_steps - 1 noisy steps, then one last step.

    Attributes:
        method: "Euler" (Euler-Maruyama) or "Heun" (noise first, then a deterministic Heun step).
        form, norm: the diffusion.
        last_step: "Mean" (drift without noise), "Euler" (velocity), "Tweedie" (posterior mean) or "None".
        last_step_size: length of the last step; the grid ends this much before the data.
    """

    method: str = "Euler"
    form: str = "sigma"
    norm: float = 1.0
    last_step: str = "Mean"
    last_step_size: float = 0.04

    def __post_init__(self) -> None:
        object.__setattr__(self, "method", choose("SDE method", self.method, METHODS))
        object.__setattr__(self, "form", choose("diffusion form", self.form, FORMS))
        object.__setattr__(self, "last_step", choose("last step", self.last_step, LAST_STEPS))
        if not 0 <= self.last_step_size < 1:
            raise UserError(f"last_step_size must lie in [0, 1), not {self.last_step_size}")

    def sample(self, path: Path, velocity: Drift, x: Tensor, num_steps: int, draw: Callable[[int], Tensor]) -> Tensor:
        """Integrate from noise x (B, C, H, W) at t = 0.

        Args:
            path: must run towards data at 1.
            velocity: the network.
            num_steps: grid points, at least 2.
            draw: index of a noisy step -> standard normal (B, C, H, W).
        """
        if self.form == "SBDM" and path.kind != "vp":
            raise UserError(
                "diffusion form 'SBDM' is infinite at t = 0, where sampling starts; take 'sigma' or 'linear'"
            )
        whole = self.last_step == "None" or self.last_step_size == 0
        end = path.end if whole else 1.0 - self.last_step_size
        grid = torch.linspace(0, end, num_steps, device=x.device)
        dt = grid[1] - grid[0]

        def drift(x: Tensor, t: Tensor) -> Tensor:
            return sde_drift(path, self.form, velocity(x, t), x, t, self.norm)

        for index, time in enumerate(grid[:-1]):
            t = time.expand(len(x))
            spread = torch.sqrt(2 * diffusion(path, self.form, time, self.norm)) * torch.sqrt(dt)
            noise = spread * draw(index)
            if self.method == "Euler":
                x = x + drift(x, t) * dt + noise
            else:
                x = heun_step(drift, x + noise, t, t + dt, dt)
        return self._finish(path, velocity, x, torch.full((len(x),), end, device=x.device))

    def _finish(self, path: Path, velocity: Drift, x: Tensor, t: Tensor) -> Tensor:
        if self.last_step == "None":
            return x
        v = velocity(x, t)
        if self.last_step == "Mean":
            return x + sde_drift(path, self.form, v, x, t, self.norm) * self.last_step_size
        if self.last_step == "Euler":
            return x + v * self.last_step_size
        alpha, _, sigma, _ = path.coefficients(column(t, x))
        return x / alpha + sigma**2 / alpha * score_from_velocity(path, v, x, t)
