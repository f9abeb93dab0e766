"""The path of the one convention, X_t = t X_1 + (1 - t) X_0: noise X_0 at t = 0, data X_1 at t = 1.

Its velocity is X_1 - X_0. A backbone whose noise has scale s brings X_0 already multiplied by it. Paths of the authors'
own procedures, with other coefficients or the other direction of time, are those of `drlbench.flow.sde`.

Shapes: B batch, C channels, H and W height and width of the latent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from torch import Tensor

Velocity = Callable[[Tensor, Tensor, Tensor], Tensor]
"""A model's: (x (B, C, H, W), t (B,), y (B,)) -> velocity (B, C, H, W)."""

Drift = Callable[[Tensor, Tensor], Tensor]
"""What a solver follows: (x (B, C, H, W), t (B,)) -> (B, C, H, W); labels and guidance are already inside."""

T = TypeVar("T", float, Tensor)


def interpolate(x0: Tensor, x1: Tensor, t: Tensor) -> Tensor:
    """X_t (B, C, H, W) between noise x0 and data x1 at times t (B,) in [0, 1].

    More leading dimensions of x0 and t, as times of each sample, go with an x1 that broadcasts to them.
    """
    t = column(t, x0)
    return t * x1 + (1 - t) * x0


def shift_time(t: Tensor, alpha: float, t_max: float = 1.0) -> Tensor:
    """Times t in [0, 1] moved to t_max t / (alpha - (alpha - 1) t), towards the noise where alpha > 1 (RAE)."""
    return t_max * t / (alpha - (alpha - 1) * t)


def heun_step(drift: Callable[[Tensor, T], Tensor], x: Tensor, t: T, t_next: T, dt: float | Tensor) -> Tensor:
    """x (B, C, H, W) one step of Heun's method on: an Euler step of length dt, then the mean of both ends' drifts.

    Times are in the form that the drift takes; dt is a number or () and negative where time falls.
    """
    first = drift(x, t)
    return x + 0.5 * dt * (first + drift(x + dt * first, t_next))


def column(t: Tensor, x: Tensor) -> Tensor:
    """Values t, one for each of x's leading indices, shaped (B, 1, 1, 1) to multiply x by."""
    return t.reshape(*t.shape, *[1] * (x.ndim - t.ndim))
