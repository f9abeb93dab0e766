"""Every wrapper keeps the one convention: time, sign, noise scale."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from drlbench.backbones import create, wrap
from drlbench.backbones.base import PixelRange, VelocityModel, to_uint8
from drlbench.flow.ode import heun, time_grid

SIZES: dict[str, dict[str, Any]] = {
    "sit": {"input_size": 4, "in_channels": 3, "hidden_size": 16, "depth": 1, "num_heads": 4},
    "jit": {"input_size": 4, "patch_size": 2, "hidden_size": 16, "depth": 1, "num_heads": 4, "in_context_len": 1},
    "repa": {"input_size": 4, "in_channels": 3, "hidden_size": 16, "depth": 1, "num_heads": 4, "encoder_depth": 1},
    "rae": {"input_size": 4, "in_channels": 3, "hidden_size": [8, 16], "depth": [1, 1], "num_heads": [2, 2]},
}
IMAGE = torch.linspace(-1, 1, 48).view(1, 3, 4, 4)


def column(t: Tensor) -> Tensor:
    return t[:, None, None, None]


# What each network returns, in its authors' words, when all data is the one image.
IDEAL: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "sit": lambda x, t, y: (IMAGE - x) / (1 - column(t)),  # data - noise, t = 1 data
    "jit": lambda x, t, y: IMAGE.expand_as(x),  # the clean image
    "repa": lambda x, t, y: (x - IMAGE) / column(t),  # noise - data, t = 1 noise
    "rae": lambda x, t, y: (x - IMAGE) / column(t),
}


def ideal(name: str) -> VelocityModel:
    net = create(name, **SIZES[name], num_classes=10)
    net.forward = IDEAL[name]  # type: ignore[method-assign]
    return wrap(net)


@pytest.mark.parametrize("name", list(SIZES))
@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_velocity_is_the_time_derivative_of_the_path(name: str, scale: float) -> None:
    model = ideal(name)
    noise = torch.randn(3, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    t, h = torch.tensor([0.2, 0.5, 0.8], dtype=torch.float64), 1e-4

    def path(t: Tensor) -> Tensor:
        return column(t) * IMAGE + (1 - column(t)) * scale * noise

    difference = (path(t + h) - path(t - h)) / (2 * h)
    velocity = model.velocity(path(t), t, torch.tensor([0, 5, 10]))
    torch.testing.assert_close(velocity, difference, atol=1e-8, rtol=1e-8)
    torch.testing.assert_close(velocity, IMAGE - scale * noise, atol=1e-8, rtol=1e-8)


@pytest.mark.parametrize("name", list(SIZES))
def test_the_flow_ends_in_the_data(name: str) -> None:
    model = ideal(name)
    x = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    y = torch.tensor([0, 1])
    end = heun(lambda x, t: model.velocity(x, t, y), x, time_grid(50))
    # JiT's clamp of 1 - t leaves its last step short: 40 % of what is left is undone, and again in the one before.
    assert (end - IMAGE).abs().max() < (0.1 if name == "jit" else 1e-4)


def test_uint8_rounds_half_to_even_and_clamps() -> None:
    images = torch.tensor([-0.1, 0.5 / 255, 1.5 / 255, 0.5, 1.2], dtype=torch.float64).view(1, 1, 1, 5)
    assert to_uint8(images).flatten().tolist() == [0, 0, 2, 128, 255]
    assert to_uint8(torch.zeros(2, 3, 4, 5)).shape == (2, 4, 5, 3)


def test_pixels_are_their_own_latents() -> None:
    images = torch.rand(2, 3, 4, 4)
    latents = PixelRange().encode(images)
    assert latents.min() < 0
    torch.testing.assert_close(PixelRange().decode(latents), images)
