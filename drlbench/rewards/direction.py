"""A reward written by hand: a weighted sum of pixels. On points in the plane it prefers one direction.

Shapes: B batch, C channels, H and W image height and width, S = C H W.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from drlbench.errors import UserError
from drlbench.rewards.base import Reward


class Direction(Reward):
    """r(x) = sum_i w_i (2 x_i - 1) over the pixels x_i in [0, 1], whatever the class."""

    weights: Tensor

    def __init__(self, name: str, weights: Sequence[float]) -> None:
        """Keep the direction.

        Args:
            name: what the suite calls the reward.
            weights: S = C H W numbers, one a value of an image in [-1, 1].
        """
        super().__init__()
        self.name = name
        self.signature = "direction:" + ",".join(f"{w:g}" for w in weights)
        self.register_buffer("weights", torch.tensor([float(w) for w in weights]))

    def forward(self, images: Tensor, y: Tensor) -> Tensor:
        """Scores (B,); UserError when an image has not S = len(weights) values."""
        pixels = images.flatten(1)  # (B, S)
        if pixels.shape[1] != len(self.weights):
            raise UserError(f"{self.name}: {len(self.weights)} weights for images of {pixels.shape[1]} values")
        return (2 * pixels - 1) @ self.weights
