"""Weighted sums of rewards."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from drlbench.errors import UserError
from drlbench.rewards.base import Reward
from drlbench.rewards.combined import Combined


class Moment(Reward):
    def __init__(self, power: int) -> None:
        super().__init__()
        self.power, self.name, self.signature = power, f"moment{power}", f"moment{power}"

    def forward(self, images: Tensor, y: Tensor) -> Tensor:
        return images.flatten(1).pow(self.power).mean(1)


def test_the_weighted_sum() -> None:
    images, y = torch.rand(700, 1, 2, 2), torch.zeros(700, dtype=torch.int64)
    first, second = Moment(1), Moment(3)
    plain = Combined([first, second], [1.0, -0.5])
    assert torch.allclose(plain(images, y), first(images, y) - 0.5 * second(images, y))
    assert plain.signature == "combined 1 * moment1 + -0.5 * moment3"


def test_mistakes_are_named() -> None:
    with pytest.raises(UserError, match="1 rewards and 2 weights"):
        Combined([Moment(1)], [1.0, 2.0])
    with pytest.raises(UserError, match="0 rewards and 0 weights"):
        Combined([], [])
