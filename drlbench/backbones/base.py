"""The one convention every backbone is brought into.

t = 0 is noise, t = 1 is data, X_t = t X_1 + (1 - t) s X_0 with X_0 ~ N(0, I) and noise scale s, and the
velocity is data minus noise, v = X_1 - s X_0. A network with another time, sign or prediction target is
adapted in its own file, once; nothing outside `drlbench.backbones` knows of it.

Shapes: B batch, C channels, H and W height and width of the latent (the image itself for pixel models).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from drlbench.backbones.keys import FINGERPRINTS, marks
from drlbench.errors import UserError, did_you_mean
from drlbench.weights.copies import choose
from drlbench.weights.strict import load_strict

if TYPE_CHECKING:
    from drlbench.backbones.cards import AutoencoderCard, Card


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


@dataclass(frozen=True)
class Request:
    """What `official_sample` was asked for, with the authors' defaults filled in.

    Attributes:
        net: in its authors' convention.
        noise: standard normal (B, C, H, W); y: labels (B,) int64.
        method, num_steps: named as `Procedure.named` returns, counted as the authors count.
        cfg_scale, cfg_interval: guidance and its (low, high) in the authors' own time.
        draw: index of a noisy step -> standard normal (B, C, H, W).
        guide: a weaker network of autoguidance.
    """

    net: Backbone
    noise: Tensor
    y: Tensor
    method: str
    num_steps: int
    cfg_scale: float
    cfg_interval: tuple[float, float]
    draw: Callable[[int], Tensor]
    guide: Backbone | None

    @property
    def null(self) -> Tensor:
        """Labels (B,) of "no label"."""
        return torch.full_like(self.y, self.net.num_classes)


class Procedure(ABC):
    """How a family's authors sample, step for step, and round to uint8.

    Attributes:
        methods: names of their methods, lower-case.
        usual: method and number of steps of their own evaluation.
        least_steps: the least number of steps, as they count.
        interval: whether guidance can be limited to an interval of times.
        autoguidance: whether a weaker network can guide.
        data_at: the authors' time of the data, 1 or 0.
        decodes_signed: whether their decoder gives images in [-1, 1], which is what `to_uint8` then takes.
    """

    methods: ClassVar[tuple[str, ...]]
    usual: ClassVar[tuple[str, int]]
    least_steps: ClassVar[int] = 1
    interval: ClassVar[bool] = True
    autoguidance: ClassVar[bool] = False
    data_at: ClassVar[int] = 1
    decodes_signed: ClassVar[bool] = True

    def named(self, method: str) -> str:
        """A method as `methods` writes it; empty takes the usual one, and "ode_" may stand in front.

        Raises:
            UserError: there is none of that name.
        """
        name = method.lower().removeprefix("ode_") or self.usual[0]
        if name not in self.methods:
            family = type(self).__name__.removesuffix("Procedure").lower()
            near = did_you_mean(name, self.methods)
            raise UserError(f"{family} has no sampling method '{method}'{near}; valid: {', '.join(self.methods)}")
        return name

    @abstractmethod
    def sample(self, r: Request) -> Tensor:
        """The final latents (B, C, H, W)."""

    @abstractmethod
    def evaluations(self, method: str, steps: int) -> int:
        """Evaluations of one label for one sample, without guidance, in that many steps."""

    @abstractmethod
    def to_uint8(self, images: Tensor) -> Tensor:
        """uint8 images (B, C, H, W) as the authors' scripts round theirs."""


class Backbone(nn.Module, ABC):
    """A network in the convention of its own authors, and all that is known of its family.

    What `drlbench.create` returns. A package adds a family by one such class under the entry point
    `drlbench.backbones`; a subclass states what differs from the defaults here.

    Attributes:
        fingerprint: one name that only its weights have, by which a checkpoint is told from others'; empty, and a
            suite says `family` and `architecture`.
        sizes: published sizes by name, as constructor arguments; names are lower-case with hyphens.
        autoencoder: what a published size works on whose card says nothing else: "pixels" or the name of an
            autoencoder's card.
        autoencoder_cards: published autoencoders that came with the family.
        cards: published checkpoints, with the numbers their authors measured.
        recipe: `preset: paper` by kind of algorithm; algorithms without an entry take batch, learning_rate, warmup and
            gradient_clip of adjoint-matching's.
        family: the registered name, for messages.
        official: how its authors sample, for `sampler: official`; None where nobody published a way.
        official_average: of several averages in a training checkpoint the one that the authors evaluate; empty where
            their checkpoints hold one at most.
        official_prefix: what the authors' checkpoints put before every name; JiT's "net.".
        latent_shape: (C, H, W) of one input.
        num_classes: labels run 0..num_classes - 1; num_classes itself is "no label".
        noise_scale: standard deviation of the noise the network is trained with.
        time_floor: as of `VelocityModel`.
    """

    family: ClassVar[str]
    official: ClassVar[Procedure | None] = None
    fingerprint: ClassVar[str] = ""
    sizes: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    autoencoder: ClassVar[str] = "pixels"
    autoencoder_cards: ClassVar[tuple[AutoencoderCard, ...]] = ()
    cards: ClassVar[tuple[Card, ...]] = ()
    recipe: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
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
        chosen = choose(content, ema, f"{self.family} checkpoint", marks(), lambda _: self.official_average)
        self.load_weights(chosen.state)
        return chosen.note

    @classmethod
    def infer_architecture(cls, state: Mapping[str, Tensor], given: Mapping[str, Any]) -> dict[str, Any]:
        """Constructor arguments of the network that official names and tensors fit; `given` ones are taken as they are.

        The default reads nothing off the weights. A KeyError is told as a tensor that is missing.
        """
        del state
        return dict(given)

    def official_state_dict(self) -> dict[str, Tensor]:
        """The network's tensors under the names that its authors' code loads."""
        return {self.official_prefix + name: tensor for name, tensor in self.state_dict().items()}

    def load_weights(self, state: Mapping[str, Tensor]) -> None:
        """Put official names and tensors into the network, strictly; families that rename do so here."""
        load_strict(self, state, self.family, marks=FINGERPRINTS)

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
