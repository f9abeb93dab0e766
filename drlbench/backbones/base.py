"""The one convention every backbone is brought into.

t = 0 is noise, t = 1 is data, X_t = t X_1 + (1 - t) s X_0 with X_0 ~ N(0, I) and noise scale s, and the
velocity is data minus noise, v = X_1 - s X_0. A network with another time, sign or prediction target is
adapted in its own file, once; nothing outside `drlbench.backbones` knows of it.

Shapes: B batch, C channels, H and W height and width of the latent (the image itself for pixel models).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from drlbench.backbones.keys import FINGERPRINTS, MARKS
from drlbench.weights.copies import choose
from drlbench.weights.strict import load_strict


class Autoencoder(Protocol):
    """Frozen, differentiable map between images in [0, 1] and the latents a network is trained on."""

    def encode(self, images: Tensor) -> Tensor:  # (B, 3, H', W') in [0, 1] -> (B, C, H, W)
        ...

    def decode(self, latents: Tensor) -> Tensor:  # (B, C, H, W) -> (B, 3, H', W'), nominally [0, 1], not clamped
        ...


class PixelRange:
    """The autoencoder of pixel-space models: [-1, 1] pixels are the latent."""

    def encode(self, images: Tensor) -> Tensor:
        return images * 2 - 1

    def decode(self, latents: Tensor) -> Tensor:
        return (latents + 1) / 2


class Backbone(nn.Module, ABC):
    """A network in the convention of its own authors; what `drlbench.backbones.create` returns.

    Attributes:
        procedure: whose sampling procedure `official_sample` reproduces for it ("sit", "jit", "repa", "rae").
        official_average: of several averages in a training checkpoint the one that the authors evaluate; empty where
            their checkpoints hold one at most.
        official_prefix: what the authors' checkpoints put before every name; JiT's "net.".
        latent_shape: (C, H, W) of one input.
        num_classes: labels run 0..num_classes - 1; num_classes itself is "no label".
        noise_scale: standard deviation of the noise the network is trained with.
        time_floor: as of `VelocityModel`.
    """

    procedure: ClassVar[str]
    official_average: ClassVar[str] = ""
    official_prefix: ClassVar[str] = ""
    latent_shape: tuple[int, int, int]
    num_classes: int
    noise_scale: float = 1.0
    time_floor: float = 0.0

    @classmethod
    def arguments_for(cls, latent_shape: tuple[int, int, int], num_classes: int) -> dict[str, Any]:
        """The constructor's arguments that inputs (C, H, W) and classes decide; a suite may leave them out."""
        return {"in_channels": latent_shape[0], "input_size": latent_shape[1], "num_classes": num_classes}

    def official_velocity(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """Velocity (B, C, H, W) in the authors' own time and sign; the output itself unless a network predicts x."""
        return self(x, t, y)

    def load_official_state_dict(self, content: Mapping[str, Any], ema: str | bool | None = None) -> str:
        """Load a state dict with the official names, or a training checkpoint around one.

        Args:
            content: what a weights file holds.
            ema: which copy of the weights; see `drlbench.weights.copies.choose`.

        Returns:
            How the weights were found, in words; empty when there was nothing to choose.

        Raises:
            UserError: a key is missing, unexpected or mis-shaped, or a weight is not finite; nothing is loaded.
        """
        chosen = choose(content, ema, f"{self.procedure} checkpoint", MARKS, lambda _: self.official_average)
        self.load_weights(chosen.state)
        return chosen.note

    def official_state_dict(self) -> dict[str, Tensor]:
        """The network's tensors under the names that its authors' code loads."""
        return {self.official_prefix + name: tensor for name, tensor in self.state_dict().items()}

    def load_weights(self, state: Mapping[str, Tensor]) -> None:
        """Put official names and tensors into the network, strictly; families that rename do so here."""
        load_strict(self, state, self.procedure, marks=FINGERPRINTS)

    @abstractmethod
    def velocity_model(self, autoencoder: Autoencoder) -> VelocityModel:
        """This network brought into the one convention."""


class VelocityModel(nn.Module, ABC):
    """A network, its autoencoder and the adaptation to the one convention.

    Attributes:
        net: the trainable network in its official convention; RL trains its parameters and nothing else.
        autoencoder: frozen; see `Autoencoder`.
        latent_shape: (C, H, W) of one latent.
        num_classes: class labels run 0..num_classes - 1; `null_class` = num_classes is "no label".
        noise_scale: s above; 1.0 except for JiT at 512 pixels.
        time_shift: alpha of the sampling schedule t -> t / (alpha - (alpha - 1) t), which spends more steps
            near the noise; 1.0 except for RAE.
        time_floor: e, where the velocity divides by max(1 - t, e) in place of 1 - t, so that a flow-matching target
            must too; 0 except for JiT's 0.05.
    """

    net: nn.Module
    autoencoder: Autoencoder
    latent_shape: tuple[int, int, int]
    num_classes: int
    noise_scale: float = 1.0
    time_shift: float = 1.0
    time_floor: float = 0.0

    @property
    def null_class(self) -> int:
        return self.num_classes

    @abstractmethod
    def velocity(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """Velocity at x (B, C, H, W) float32, t (B,) in [0, 1], labels y (B,) int64 -> (B, C, H, W)."""

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        return self.velocity(x, t, y)

    def decode(self, latents: Tensor) -> Tensor:
        """Images (B, channels, height, width), nominally in [0, 1]; differentiable and NOT clamped."""
        return self.autoencoder.decode(latents)

    def encode(self, images: Tensor) -> Tensor:
        """Latents (B, C, H, W) of images in [0, 1]."""
        return self.autoencoder.encode(images)


def to_uint8(images: Tensor) -> Tensor:
    """Images in [0, 1] (B, C, H, W) -> uint8 (B, H, W, C): clamp, scale by 255, round half to even."""
    return (images.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
