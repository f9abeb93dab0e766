"""Raw pixels as a feature space, whole or projected on their leading principal components."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from drlbench.encoders.small import SmallEncoder
from drlbench.settings import Settings
from drlbench.training import Progress, TrainingLog


class PixelsSettings(Settings):
    """components: 0 keeps every pixel; otherwise how many principal components of the training images."""

    components: int = Field(0, ge=0, description="principal components of the training images; 0 keeps every pixel")


class Pixels(SmallEncoder):
    """D = C H W raw pixels in [0, 1], or D = components; nothing is learned beyond the projection."""

    kind = "pixels"
    Record = PixelsSettings
    settings: PixelsSettings
    basis: Tensor

    def __init__(self, settings: PixelsSettings, image_shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__(settings, image_shape, num_classes)
        size = image_shape[0] * image_shape[1] * image_shape[2]
        self.dim = min(settings.components, size) or size
        self.register_buffer("basis", torch.zeros(size, self.dim if settings.components else 0))

    def features(self, images: Tensor) -> Tensor:
        flat = images.flatten(1)
        return flat @ self.basis if self.settings.components else flat

    def _train(self, pixels: Tensor, labels: Tensor, generator: torch.Generator, progress: Progress) -> TrainingLog:
        if self.settings.components:
            flat = pixels.flatten(1).double()
            _, vectors = torch.linalg.eigh((flat - flat.mean(0)).T @ (flat - flat.mean(0)))
            leading = vectors.flip(1)[:, : self.dim]
            # An eigenvector's sign is arbitrary; its largest entry is made positive so that every machine agrees.
            largest = leading.gather(0, leading.abs().argmax(0, keepdim=True))
            self.basis.copy_((leading * largest.sign()).float())
        return TrainingLog()
