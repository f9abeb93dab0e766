"""Every SDE of SiT against its formulas in float64 numpy, where no golden file exists."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from drlbench.errors import UserError
from drlbench.flow.ode import integrate
from drlbench.flow.sde import SDE, Path, diffusion, score_from_velocity

Array = NDArray[np.float64]
STEPS, SIZE, NORM = 6, 0.04, 0.7
DRAWS = np.random.default_rng(0).standard_normal((STEPS - 1, 2, 3, 2, 2))
START = np.random.default_rng(1).standard_normal((2, 3, 2, 2))


def coefficients(path: str, t: float) -> tuple[float, float, float, float]:
    """alpha, sigma and their derivatives by central differences of their definitions."""

    def both(s: float) -> tuple[float, float]:
        if path == "linear":
            return s, 1 - s
        if path == "gvp":
            return math.sin(math.pi * s / 2), math.cos(math.pi * s / 2)
        alpha = math.exp(-0.25 * (1 - s) ** 2 * 19.9 - 0.5 * (1 - s) * 0.1)
        return alpha, math.sqrt(1 - alpha**2)

    h = 1e-6
    (a, s), (a1, s1), (a0, s0) = both(t), both(t + h), both(t - h)
    return a, s, (a1 - a0) / (2 * h), (s1 - s0) / (2 * h)


def velocity(x: Array, t: float) -> Array:
    return 0.3 * np.sin(x) + (1 - t) * x**2 / 9


def score(path: str, x: Array, t: float) -> Array:
    if path != "vp" and t == 0:
        return -x  # alpha is 0 there: only noise of standard deviation 1
    a, s, da, ds = coefficients(path, t)
    ratio = a / da
    return (ratio * velocity(x, t) - x) / (s**2 - ratio * ds * s)


def weight(path: str, form: str, t: float) -> float:
    if form == "SBDM":  # of the variance-preserving path only: beta / 2
        return NORM * 0.5 * (0.1 + (1 - t) * 19.9)
    return {
        "constant": NORM,
        "sigma": NORM * coefficients(path, t)[1],
        "linear": NORM * (1 - t),
        "decreasing": 0.25 * (NORM * math.cos(math.pi * t) + 1) ** 2,
        "increasing-decreasing": NORM * math.sin(math.pi * t) ** 2,
    }[form]


def by_hand(path: str, method: str, form: str, last: str) -> Array:
    def drift(x: Array, t: float) -> Array:
        return velocity(x, t) + weight(path, form, t) * score(path, x, t)

    end = (0.999 if path == "vp" else 1.0) if last == "None" else 1 - SIZE
    grid = [end * k / (STEPS - 1) for k in range(STEPS)]
    dt, x = grid[1], START
    for k, t in enumerate(grid[:-1]):
        kick = math.sqrt(2 * weight(path, form, t) * dt) * DRAWS[k]
        if method == "Euler":
            x = x + dt * drift(x, t) + kick
        else:
            moved = x + kick
            first = drift(moved, t)
            x = moved + dt / 2 * (first + drift(moved + dt * first, t + dt))
    a, s, _, _ = coefficients(path, end) if last == "Tweedie" else (1.0, 0.0, 0.0, 0.0)
    return {
        "Mean": lambda: x + SIZE * drift(x, end),
        "Euler": lambda: x + SIZE * velocity(x, end),
        "Tweedie": lambda: x / a + s**2 / a * score(path, x, end),
        "None": lambda: x,
    }[last]()


CASES = [
    (method, path, form, last)
    for method in ("Euler", "Heun")
    for path in ("linear", "gvp", "vp")
    for form in ("constant", "sigma", "linear", "decreasing", "increasing-decreasing", "SBDM")
    for last in ("Mean", "Euler", "Tweedie", "None")
    # There the last corrector would ask for the score at t = 1, where it is infinite.
    if (method, last) != ("Heun", "None") or path == "vp"
]


@pytest.mark.parametrize(("method", "path", "form", "last"), CASES)
def test_final_state(method: str, path: str, form: str, last: str) -> None:
    if form == "SBDM" and path != "vp":
        with pytest.raises(UserError, match="infinite at t = 0"):
            SDE(method, form).sample(Path(path), lambda x, _: x, torch.zeros(1, 1, 1, 1), 3, lambda _: torch.zeros(1))
        return
    sde = SDE(method, form, NORM, last, SIZE)

    def field(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        column = t[:, None, None, None]
        return 0.3 * x.sin() + (1 - column) * x**2 / 9

    draws = torch.from_numpy(DRAWS)
    final = sde.sample(Path(path), field, torch.from_numpy(START), STEPS, lambda k: draws[k])
    expected = by_hand(path, method, form, last)
    assert 0.1 < np.abs(expected).max() < 1e4
    assert np.abs(final.numpy() - expected).max() <= 2e-5 * max(1.0, np.abs(expected).max())


def test_the_variance_preserving_path() -> None:
    t = torch.linspace(0.05, 0.95, 7, dtype=torch.float64)
    path = Path("vp")
    for found, column in zip(path.coefficients(t), range(4), strict=True):
        order = (0, 2, 1, 3)[column]  # ours: alpha, alpha', sigma, sigma'
        expected = [coefficients("vp", float(s))[order] for s in t]
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)
    alpha, _, sigma, _ = path.coefficients(t)
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones_like(t))
    np.testing.assert_allclose(diffusion(path, "SBDM", t).numpy(), 0.05 + (1 - t.numpy()) * 9.95)
    # Score of N(0, 1) data, whose velocity alpha' alpha + sigma' sigma is 0.
    x = torch.randn(7, 1, 1, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(score_from_velocity(path, torch.zeros_like(x), x, t), -x)


def test_the_ode_of_the_variance_preserving_path_stops_before_the_data() -> None:
    seen = []

    def field(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        seen.append(float(t[0]))
        return x

    integrate(field, torch.ones(1, 1, 1, 1), torch.linspace(0, Path("vp").end, 5), "euler")
    np.testing.assert_allclose(seen, [0.0, 0.24975, 0.4995, 0.74925], rtol=1e-6)
