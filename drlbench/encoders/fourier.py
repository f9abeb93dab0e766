"""Random Fourier features (Rahimi and Recht 2007): sines and cosines of random projections of the pixels.

Features of points in the plane: a network on two raw coordinates learns only slow changes, and a thin curve is none.

Shapes: B images, C channels, H and W image height and width, S = C H W, F frequencies, D = 2 F.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from drlbench.encoders.small import SmallEncoder
from drlbench.settings import Settings
from drlbench.training import Progress, TrainingLog


class FourierSettings(Settings):
    """frequencies: F; bandwidth: their deviation, in turns over a pixel's whole range [0, 1]."""

    frequencies: int = Field(64, ge=1, description="F; the features are 2 F")
    bandwidth: float = Field(4.0, gt=0, description="deviation of the frequencies, in turns over a pixel's range")


class Fourier(SmallEncoder):
    """Features (B, 2 F) of frequencies drawn once from the seed; nothing is learned."""

    kind = "fourier"
    Record = FourierSettings
    settings: FourierSettings
    frequencies: Tensor

    def __init__(self, settings: FourierSettings, image_shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__(settings, image_shape, num_classes)
        self.dim = 2 * settings.frequencies
        size = image_shape[0] * image_shape[1] * image_shape[2]
        self.register_buffer("frequencies", torch.zeros(size, settings.frequencies))  # (S, F)

    def features(self, images: Tensor) -> Tensor:
        angle = 2 * torch.pi * images.flatten(1) @ self.frequencies  # (B, F)
        return torch.cat([angle.sin(), angle.cos()], dim=1)

    def _train(self, pixels: Tensor, labels: Tensor, generator: torch.Generator, progress: Progress) -> TrainingLog:
        drawn = torch.randn(self.frequencies.shape, generator=generator)
        self.frequencies.copy_(self.settings.bandwidth * drawn)
        return TrainingLog()
