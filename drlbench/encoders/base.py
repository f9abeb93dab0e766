"""The frozen representation that both rewards and metrics look through.

Shapes: B batch, C channels, H and W image height and width, D feature dimension.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Encoder(nn.Module, ABC):
    """Images to features: frozen, in eval mode, differentiable with respect to the images.

    Attributes:
        dim: D.
        signature: a short string naming everything a feature depends on: network and revision or training
            stage, weights' sha256 (first 12 hex digits), resize filter, crop, normalisation, token or pooling.
    """

    dim: int
    signature: str

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """Features (B, D) float32 of images (B, C, H, W) float32, nominally in [0, 1]."""

    def freeze(self) -> Encoder:
        """Switch off parameter gradients and training behaviour; gradients to the images stay."""
        self.requires_grad_(False)
        return self.eval()
