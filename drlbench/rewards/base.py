"""What reinforcement learning maximises and what the preference metrics score with: the same object.

Shapes: B batch, C channels, H and W image height and width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Reward(nn.Module, ABC):
    """A frozen, differentiable score of an image given its class.

    Attributes:
        name: the metric name under which the score appears in results.csv.
        signature: a short string naming everything the score depends on.
    """

    name: str
    signature: str

    @abstractmethod
    def forward(self, images: Tensor, y: Tensor) -> Tensor:
        """Scores (B,) float32 of images (B, C, H, W), nominally in [0, 1], with labels y (B,) int64."""
