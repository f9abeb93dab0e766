"""A small convolutional network trained by contrast (SimCLR, Chen et al. 2020, arXiv 2002.05709, equation 1)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from drlbench.encoders.augment import deform
from drlbench.encoders.small import SmallEncoder, conv, descend
from drlbench.settings import Settings
from drlbench.training import Progress, TrainingLog, sent


class ContrastiveSettings(Settings):
    """width: channels of the first stage; features: D; temperature: of the contrastive softmax."""

    width: int = Field(24, ge=4, multiple_of=4, description="channels")
    features: int = Field(64, ge=2, description="D, dimension of a feature vector")
    steps: int = Field(500, ge=1, description="updates")
    batch: int = Field(128, ge=2, description="images in one update")
    lr: float = Field(3e-3, gt=0, description="peak, of AdamW")
    weight_decay: float = Field(0.01, ge=0, description="decoupled (AdamW); 0 is plain Adam")
    temperature: float = Field(0.2, gt=0, description="of the contrastive loss")


class Contrastive(SmallEncoder):
    """Three convolutions (the second halves the grid) and a linear layer; a projection head exists in training only.

    Two views of an image - small rotation, scaling, shear, translation, change of contrast and noise - are to find
    each other among all other views of the batch. No label is used.
    """

    kind = "small-contrastive"
    Record = ContrastiveSettings
    settings: ContrastiveSettings

    def __init__(self, settings: ContrastiveSettings, image_shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__(settings, image_shape, num_classes)
        channels, height, width = image_shape
        w = settings.width
        self.body = nn.Sequential(
            conv(channels, w, 3, nn.ReLU),
            conv(w, 2 * w, 3, nn.ReLU, stride=2),
            conv(2 * w, 2 * w, 3, nn.ReLU),
            nn.Flatten(),
            nn.Linear(2 * w * -(-height // 2) * -(-width // 2), settings.features),
        )
        self.dim = settings.features

    def features(self, images: Tensor) -> Tensor:
        return self.body(images * 2 - 1)

    def _train(self, pixels: Tensor, labels: Tensor, generator: torch.Generator, progress: Progress) -> TrainingLog:
        s = self.settings
        project = nn.Sequential(nn.ReLU(), nn.Linear(self.dim, self.dim), nn.ReLU(), nn.Linear(self.dim, 32))
        project.to(pixels.device)
        count = min(s.batch, len(pixels))

        def loss() -> Tensor:
            images = pixels[sent(torch.randperm(len(pixels), generator=generator)[:count], pixels.device)]
            views = torch.cat([self._view(images, generator), self._view(images, generator)])  # (2B, C, H, W)
            return contrastive_loss(project(self.features(views)), s.temperature)

        return descend([*self.parameters(), *project.parameters()], loss, s.steps, s.lr, s.weight_decay, progress)

    @staticmethod
    def _view(images: Tensor, generator: torch.Generator) -> Tensor:
        moved = deform(images, generator, angle=0.25, scale=0.15, shear=0.2, shift=0.25)
        gain = 0.8 + 0.4 * torch.rand(len(images), 1, 1, 1, generator=generator)
        noise = 0.08 * torch.randn(images.shape, generator=generator)
        return moved * sent(gain, images.device) + sent(noise, images.device)


def contrastive_loss(z: Tensor, temperature: float) -> Tensor:
    """NT-Xent of z (2B, d), where rows i and i + B are two views of one image; a scalar."""
    z = F.normalize(z, dim=1)
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    similarity = (z @ z.T / temperature).masked_fill(itself, -torch.inf)  # (2B, 2B)
    return F.cross_entropy(similarity, torch.arange(len(z), device=z.device).roll(len(z) // 2))
