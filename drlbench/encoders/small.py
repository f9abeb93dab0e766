"""Small encoders trained on a run's own training split: what they share.

An embedded suite has no downloaded feature extractor, so it trains its own: each is fitted once on the train
split, frozen, and kept as safetensors and JSON. The raw features are multiplied by one number such that the
total variance (trace of the covariance) of the real training features is 100: distances in spaces of different
kind and width become comparable in size, and no distance between distributions changes its ranking.

Shapes: N or B images, C channels, H and W height and width, D feature dimension.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from drlbench.encoders.base import Encoder
from drlbench.errors import UserError
from drlbench.seeds import seeded
from drlbench.settings import Settings, parse_settings
from drlbench.training import (
    Progress,
    TrainingLog,
    load_config,
    load_weights,
    save_network,
    to_float,
    unwatched,
    warmup_then_cosine,
    weights_sha256,
)

TOTAL_VARIANCE = 100.0
WARMUP = 30  # steps


class SmallEncoder(Encoder):
    """An encoder that `fit` trains from pixels; subclasses give the network and its objective.

    Attributes:
        kind: the registered name, part of the signature.
        scale: buffer, the factor that brings the real total variance to `TOTAL_VARIANCE`.
    """

    kind: ClassVar[str]
    Record: ClassVar[type[Settings]]
    fitted = True
    scale: Tensor

    def __init__(self, settings: Settings, image_shape: tuple[int, int, int], num_classes: int) -> None:
        """Untrained network for images (C, H, W); `fit` and `load` are the ways to a usable one."""
        super().__init__()
        self.settings = settings
        self.image_shape = image_shape
        self.num_classes = num_classes
        self.register_buffer("scale", torch.ones(()))
        self.signature = f"{self.kind}:untrained"

    @classmethod
    def fit(
        cls,
        images: NDArray[np.uint8],
        labels: NDArray[np.int64],
        settings: Mapping[str, Any],
        seed: int,
        device: str = "cpu",
        progress: Progress = unwatched,
    ) -> tuple[Self, TrainingLog]:
        """Train on images (N, H, W, C) uint8 with labels (N,) and freeze; the same seed gives the same bits.

        Training runs on `device`, with draws made on the CPU; the encoder comes back on the CPU.

        Raises:
            UserError: a setting is unknown or out of range, or there are too few images.
        """
        if len(images) < 2 or images.shape[0] != labels.shape[0]:
            raise UserError(
                f"encoder '{cls.kind}': {len(images)} images with {len(labels)} labels; at least 2, one label each"
            )
        record = parse_settings(cls.Record, settings, f"encoder '{cls.kind}'")
        pixels = to_float(images)
        with seeded(seed) as generator:
            encoder = cls(record, (pixels.shape[1], pixels.shape[2], pixels.shape[3]), int(labels.max()) + 1)
            encoder.to(device)
            pixels = pixels.to(device)
            log = encoder._train(pixels, torch.from_numpy(labels).to(device), generator, progress)
            encoder.freeze()
            encoder._rescale(pixels)
        encoder.cpu()
        log.summary["parameters"] = float(sum(p.numel() for p in encoder.parameters()))
        return encoder, log

    @classmethod
    def rehearse(
        cls, settings: Mapping[str, Any], image_shape: tuple[int, int, int], images: int, num_classes: int
    ) -> None:
        """The training of `fit` on so many images on the meta device, where nothing is computed, for whoever counts."""
        record = parse_settings(cls.Record, settings, f"encoder '{cls.kind}'")
        with seeded(0) as generator:
            encoder = cls(record, image_shape, num_classes).to("meta")
            pixels = torch.empty(images, *image_shape, device="meta")
            encoder._train(pixels, torch.zeros(images, dtype=torch.int64, device="meta"), generator, unwatched)

    @abstractmethod
    def features(self, images: Tensor) -> Tensor:
        """Features (B, D) before rescaling, of images (B, C, H, W) in [0, 1]."""

    @abstractmethod
    def _train(self, pixels: Tensor, labels: Tensor, generator: torch.Generator, progress: Progress) -> TrainingLog:
        """Fit the network to pixels (N, C, H, W) in [0, 1] and labels (N,); called inside a seeded scope."""

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, D) float32 of images (B, C, H, W) float32, nominally in [0, 1]."""
        if images.ndim != 4 or tuple(images.shape[1:]) != self.image_shape:
            raise UserError(
                f"encoder '{self.kind}' was trained on images (channels, height, width) = {self.image_shape}, "
                f"not {tuple(images.shape[1:])}"
            )
        return self.features(images) * self.scale

    def _rescale(self, pixels: Tensor) -> None:
        with torch.no_grad():
            total = torch.cat([self.features(part) for part in pixels.split(512)]).double().var(0).sum()
        if not 0 < float(total) < float("inf"):
            raise UserError(f"encoder '{self.kind}': the features of the training images have variance {float(total)}")
        self.scale.copy_((TOTAL_VARIANCE / total).sqrt())
        self._sign()

    def _sign(self) -> None:
        shape = "x".join(str(side) for side in self.image_shape)
        self.signature = f"{self.kind}:{shape}:d{self.dim}:var{TOTAL_VARIANCE:g}:{weights_sha256(self)}"

    def save(self, folder: Path) -> None:
        """Keep the frozen encoder in `folder`."""
        config = {
            "kind": self.kind,
            "settings": self.settings.model_dump(mode="json"),
            "image_shape": list(self.image_shape),
            "num_classes": self.num_classes,
        }
        save_network(folder, self, config)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote, frozen; its signature is that of the encoder that was saved."""
        config = load_config(folder, cls.kind)
        record = parse_settings(cls.Record, config["settings"], str(folder))
        encoder = cls(record, tuple(config["image_shape"]), config["num_classes"])
        load_weights(folder, encoder)
        encoder.freeze()
        encoder._sign()
        return encoder


def conv(inputs: int, outputs: int, kernel: int, activation: type[nn.Module], stride: int = 1) -> nn.Sequential:
    """Convolution, group normalisation (four groups, no batch statistics) and activation; size kept or halved."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2), nn.GroupNorm(4, outputs), activation()
    )


def descend(
    weights: Iterable[nn.Parameter],
    loss: Callable[[], Tensor],
    steps: int,
    lr: float,
    weight_decay: float,
    progress: Progress,
) -> TrainingLog:
    """Minimise with AdamW, the rate warmed up and then brought down to 0; `loss` draws its own batch."""
    log = TrainingLog()
    optimiser = torch.optim.AdamW(weights, lr=lr, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: warmup_then_cosine(step, steps, min(WARMUP, steps))
    )
    for step in range(steps):
        value = loss()
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        schedule.step()
        if step % 20 == 0 or step == steps - 1:
            log.note(step + 1, loss=value.item())
            progress((step + 1) / steps)
    return log
