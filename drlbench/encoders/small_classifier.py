"""A small convolutional classifier; its penultimate layer stands where Inception stands for large images."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from drlbench.encoders.augment import deform
from drlbench.encoders.small import SmallEncoder, conv, descend
from drlbench.settings import Settings
from drlbench.training import Progress, TrainingLog, sent

ACTIVATIONS = {"gelu": nn.GELU, "relu": nn.ReLU, "silu": nn.SiLU}


class ClassifierSettings(Settings):
    """width: channels of the first stage; features: D; smoothing: of the labels; the images are slightly
    deformed in training, or the penultimate layer would know its training images too well to measure against."""

    width: int = Field(24, ge=4, multiple_of=4, description="channels")
    kernel: Literal[3, 5] = Field(3, description="size of the convolutions")
    activation: Literal["gelu", "relu", "silu"] = Field("gelu", description="between the layers")
    features: int = Field(64, ge=2, description="D, dimension of a feature vector")
    steps: int = Field(400, ge=1, description="updates")
    batch: int = Field(128, ge=1, description="images in one update")
    lr: float = Field(3e-3, gt=0, description="peak, of AdamW")
    weight_decay: float = Field(0.02, ge=0, description="decoupled (AdamW); 0 is plain Adam")
    smoothing: float = Field(0.0, ge=0, lt=1, description="of the labels")


class SmallClassifier(SmallEncoder):
    """Three convolutions (the second halves the grid), a hidden layer of D units, a linear classifier on top."""

    kind = "small-classifier"
    learned_from = "this data set's labels"
    Record = ClassifierSettings
    settings: ClassifierSettings

    def __init__(self, settings: ClassifierSettings, image_shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__(settings, image_shape, num_classes)
        channels, height, width = image_shape
        act = ACTIVATIONS[settings.activation]
        self.body = nn.Sequential(
            conv(channels, settings.width, settings.kernel, act),
            conv(settings.width, 2 * settings.width, settings.kernel, act, stride=2),
            conv(2 * settings.width, 2 * settings.width, settings.kernel, act),
            nn.Flatten(),
            nn.Linear(2 * settings.width * -(-height // 2) * -(-width // 2), settings.features),
            act(),
        )
        self.head = nn.Linear(settings.features, num_classes)
        self.dim = settings.features

    def features(self, images: Tensor) -> Tensor:
        return self.body(images * 2 - 1)

    def logits(self, images: Tensor) -> Tensor:
        """Class logits (B, classes) of images (B, C, H, W) in [0, 1]."""
        return self.head(self.features(images))

    def _train(self, pixels: Tensor, labels: Tensor, generator: torch.Generator, progress: Progress) -> TrainingLog:
        s = self.settings

        def loss() -> Tensor:
            index = sent(torch.randint(len(pixels), (s.batch,), generator=generator), pixels.device)
            images = deform(pixels[index], generator, angle=0.15, scale=0.1, shear=0.1, shift=0.15)
            images = images + 0.05 * sent(torch.randn(images.shape, generator=generator), images.device)
            return F.cross_entropy(self.logits(images), labels[index], label_smoothing=s.smoothing)

        return descend(self.parameters(), loss, s.steps, s.lr, s.weight_decay, progress)
