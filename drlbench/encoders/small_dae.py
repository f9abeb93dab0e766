"""A small denoising and masking auto-encoder; its bottleneck is a self-supervised representation."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from drlbench.encoders.small import SmallEncoder, conv, descend
from drlbench.settings import Settings
from drlbench.training import Progress, TrainingLog, sent


class AutoencoderSettings(Settings):
    """width: channels; features: D; noise: largest standard deviation added; mask: share of 2x2 patches blanked."""

    width: int = Field(32, ge=4, multiple_of=4, description="channels")
    features: int = Field(64, ge=2, description="D, dimension of a feature vector")
    steps: int = Field(600, ge=1, description="updates")
    batch: int = Field(128, ge=1, description="images in one update")
    lr: float = Field(3e-3, gt=0, description="peak, of AdamW")
    noise: float = Field(0.25, ge=0, description="largest standard deviation added to the input")
    mask: float = Field(0.25, ge=0, lt=1, description="share of 2x2 patches blanked")


class DenoisingAutoencoder(SmallEncoder):
    """Two convolutions and a linear layer to the D-wide bottleneck, mirrored back to the clean image.

    Half of every batch loses random patches, all of it gets Gaussian noise of a random strength; the loss is the
    squared error to the clean image. No label is used.
    """

    kind = "small-dae"
    spatial = True
    Record = AutoencoderSettings
    settings: AutoencoderSettings

    def __init__(self, settings: AutoencoderSettings, image_shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__(settings, image_shape, num_classes)
        channels, height, width = image_shape
        w = settings.width
        self.grid = (2 * w, -(-height // 2), -(-width // 2))
        size = self.grid[0] * self.grid[1] * self.grid[2]
        self.down = nn.Sequential(
            conv(channels, w, 3, nn.GELU),
            conv(w, 2 * w, 3, nn.GELU, stride=2),
            nn.Flatten(),
            nn.Linear(size, settings.features),
        )
        self.up_linear = nn.Linear(settings.features, size)
        self.up_conv = nn.Sequential(nn.GELU(), conv(2 * w, w, 3, nn.GELU))
        self.out = nn.Conv2d(w, channels, 3, padding=1)
        self.dim = settings.features

    def features(self, images: Tensor) -> Tensor:
        return self.down(images * 2 - 1)

    def tokens(self, images: Tensor) -> Tensor:
        """Spatial features (B, N, Z) of images (B, C, H, W) in [0, 1]: the last convolution's grid, row-major."""
        return self.down[:2](images * 2 - 1).flatten(2).transpose(1, 2)

    def reconstruct(self, features: Tensor) -> Tensor:
        """Images (B, C, H, W), nominally in [0, 1], from features before rescaling (B, D)."""
        hidden = self.up_conv(self.up_linear(features).unflatten(1, self.grid))
        return (self.out(F.interpolate(hidden, size=self.image_shape[1:], mode="nearest")) + 1) / 2

    def _train(self, pixels: Tensor, labels: Tensor, generator: torch.Generator, progress: Progress) -> TrainingLog:
        s = self.settings

        def loss() -> Tensor:
            clean = pixels[sent(torch.randint(len(pixels), (s.batch,), generator=generator), pixels.device)]
            return F.mse_loss(self.reconstruct(self.features(self._corrupt(clean, generator))), clean)

        return descend(self.parameters(), loss, s.steps, s.lr, 0.0, progress)

    def _corrupt(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        count, _, height, width = clean.shape
        strength = self.settings.noise * torch.rand(count, 1, 1, 1, generator=generator)
        noisy = clean + sent(strength * torch.randn(clean.shape, generator=generator), clean.device)
        patches = torch.rand(count, 1, -(-height // 2), -(-width // 2), generator=generator) < self.settings.mask
        patches &= (torch.arange(count) % 2 == 0)[:, None, None, None]
        blank = patches.repeat_interleave(2, 2).repeat_interleave(2, 3)[..., :height, :width]
        return noisy.masked_fill(sent(blank, clean.device), 0.0)
