"""A small representation autoencoder: the latent of a frozen encoder's spatial features, and a trained decoder.

The embedded suites' counterpart of RAE stage 1 (arXiv 2510.11690): the encoder is frozen and was never trained to be
decoded; its token features are projected on their leading principal components and brought to zero mean and unit
variance per channel and position; the decoder is trained on latents with a little noise, so that it forgives what a
generator gets slightly wrong.

Shapes: N images, B batch, T tokens on a square grid g x g, Z features of a token, C latent channels.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, Self

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from drlbench.registry import ENCODERS
from drlbench.settings import Settings
from drlbench.training import Progress, TrainingLog, unwatched, warmup_then_cosine
from drlbench.weights.read import read_checkpoint
from drlbench.weights.strict import load_strict

EPSILON = 1e-5


class TokenEncoder(Protocol):
    """A frozen encoder with spatial features."""

    def tokens(self, images: Tensor) -> Tensor:  # (B, C', H', W') in [0, 1] -> (B, T, Z), row-major
        ...


class LatentSettings(Settings):
    """channels: C; noise: largest standard deviation added to unit-variance latents while the decoder is trained."""

    channels: int = Field(8, ge=1)
    width: int = Field(32, ge=4)
    steps: int = Field(800, ge=1)
    batch: int = Field(128, ge=1)
    lr: float = Field(3e-3, gt=0)
    noise: float = Field(0.2, ge=0)


def load_small_rae(folder: Path) -> SmallRAE:
    """The autoencoder that a suite trained, from its folder: config.json, weights.safetensors and its encoder/.

    Raises:
        UserError: the weights do not fit the description.
    """
    config = json.loads((folder / "config.json").read_text())
    described = json.loads((folder / "encoder" / "config.json").read_text())
    encoder: TokenEncoder = ENCODERS.get(described["kind"]).load(folder / "encoder")
    settings = LatentSettings(**config["settings"])
    autoencoder = SmallRAE(encoder, settings, tuple(config["image_shape"]), tuple(config["tokens"]))
    load_strict(autoencoder, read_checkpoint(folder / "weights.safetensors"), "the autoencoder trained here")
    return autoencoder.requires_grad_(False).eval()


class SmallRAE(nn.Module):
    """Autoencoder of images (B, C', H', W') in [0, 1] and latents (B, C, g, g); see the module."""

    encoder: TokenEncoder
    basis: Tensor
    mean: Tensor
    scale: Tensor

    def __init__(
        self,
        encoder: TokenEncoder,
        settings: LatentSettings,
        image_shape: tuple[int, int, int],
        tokens: tuple[int, int],
    ) -> None:
        """Undecided statistics and an untrained decoder; `tokens` is (T, Z)."""
        super().__init__()
        count, width = tokens
        self.settings, self.image_shape, self.grid = settings, image_shape, round(count**0.5)
        # Kept out of the module tree, since its weights belong to its own stage; `_apply` takes it along to a GPU.
        object.__setattr__(self, "encoder", encoder)
        c, w = settings.channels, settings.width
        self.register_buffer("basis", torch.zeros(width, c))
        self.register_buffer("mean", torch.zeros(c, self.grid, self.grid))
        self.register_buffer("scale", torch.ones(c, self.grid, self.grid))
        self.decoder = nn.Sequential(
            nn.Conv2d(c, 2 * w, 3, padding=1),
            nn.GELU(),
            nn.Upsample(size=image_shape[1:], mode="nearest"),
            nn.Conv2d(2 * w, w, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(w, image_shape[0], 3, padding=1),
        )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        if isinstance(self.encoder, nn.Module):
            self.encoder._apply(fn, recurse)
        return super()._apply(fn, recurse)

    def encode(self, images: Tensor) -> Tensor:
        """Latents (B, C, g, g) of images in [0, 1]."""
        return (self._project(images) - self.mean) / self.scale

    def decode(self, latents: Tensor) -> Tensor:
        """Images (B, C', H', W'), nominally in [0, 1], of latents (B, C, g, g)."""
        return (self.decoder(latents * self.scale + self.mean) + 1) / 2

    def _project(self, images: Tensor) -> Tensor:
        projected = self.encoder.tokens(images) @ self.basis  # (B, T, C)
        return projected.transpose(1, 2).unflatten(2, (self.grid, self.grid))

    def fit(self, images: Tensor, generator: torch.Generator, progress: Progress = unwatched) -> TrainingLog:
        """Settle the statistics on images (N, C', H', W') in [0, 1] and train the decoder on them."""
        with torch.no_grad():
            tokens = self.encoder.tokens(images).flatten(0, 1).double()  # (N T, Z)
            _, vectors = torch.linalg.eigh(torch.cov(tokens.T))
            leading = vectors.flip(1)[:, : self.settings.channels]
            # An eigenvector's sign is arbitrary; its largest entry is made positive so that every machine agrees.
            largest = leading.gather(0, leading.abs().argmax(0, keepdim=True))
            self.basis.copy_((leading * largest.sign()).float())
            projected = self._project(images)
            self.mean.copy_(projected.mean(0))
            self.scale.copy_((projected.var(0) + EPSILON).sqrt())
            latents = self.encode(images)
        return self._train_decoder(images, latents, generator, progress)

    def _train_decoder(
        self, images: Tensor, latents: Tensor, generator: torch.Generator, progress: Progress
    ) -> TrainingLog:
        s, log = self.settings, TrainingLog()
        optimiser = torch.optim.AdamW(self.decoder.parameters(), lr=s.lr, weight_decay=0.0)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda step: warmup_then_cosine(step, s.steps, min(30, s.steps))
        )
        for step in range(s.steps):
            rows = torch.randint(len(images), (s.batch,), generator=generator)
            z = latents[rows]
            strength = s.noise * torch.rand(len(z), 1, 1, 1, generator=generator)
            loss = F.mse_loss(self.decode(z + strength * torch.randn(z.shape, generator=generator)), images[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            if step % 50 == 0 or step == s.steps - 1:
                log.note(step + 1, decoder_loss=loss.item())
                progress((step + 1) / s.steps)
        self.requires_grad_(False).eval()
        with torch.no_grad():
            log.summary["reconstruction_mse"] = float(F.mse_loss(self.decode(latents), images))
        return log
