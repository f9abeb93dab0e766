"""The frozen representation that both rewards and metrics look through.

Shapes: B batch, C channels, H and W image height and width, D feature dimension.
"""

from __future__ import annotations

import copy
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from drlbench.errors import UserError
from drlbench.seeds import seeded
from drlbench.training import CONFIG, Progress, TrainingLog, unwatched


class Encoder(nn.Module, ABC):
    """Images to features: frozen, in eval mode, differentiable with respect to the images.

    A subclass must have `dim`, `signature` and `forward`. What it may have besides stands here with its default.

    Attributes:
        dim: D.
        signature: a short string naming everything a feature depends on: network and revision or training
            stage, weights' sha256 (first 12 hex digits), resize filter, crop, normalisation, token or pooling.
        learned_from: labels that the network was taught with; a space that shares them with a reward's is kin to it,
            and held out only in name.
        fitted: made by `fit` from a run's own images (then `save` and `load` are its own too); otherwise the
            constructor takes the suite's settings and nothing else.
        spatial: has `tokens`.
        outputs: names of several feature vectors from one pass through the network, the first being `forward`'s;
            empty where there is only one.
        default_outputs, outputs_of_metrics: which of them a plain evaluation takes, and which one a metric needs.
    """

    learned_from: ClassVar[str] = ""
    fitted: ClassVar[bool] = False
    spatial: ClassVar[bool] = False
    default_outputs: ClassVar[tuple[str, ...]] = ()
    outputs_of_metrics: ClassVar[Mapping[str, str]] = {}
    dim: int
    signature: str
    outputs: Sequence[str] = ()

    @classmethod
    def of_space(cls, rest: str) -> dict[str, Any]:
        """Settings that `rest` stands for in a space's name `<registered name>/<rest>`.

        Raises:
            UserError: such a name means nothing here.
        """
        raise UserError(f"'{rest}': this encoder is asked for by its registered name alone")

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
        """Train on images (N, H, W, C) with labels (N,), freeze, and give it back on the CPU with its log."""
        raise NotImplementedError(f"{cls.__name__} says that it is fitted, and has no fit")

    def save(self, folder: Path) -> None:
        """Keep what `load` needs beside the `config.json` that is there: {"kind": ..., "settings": ...}."""

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read the encoder that a stage kept in `folder`, frozen."""
        encoder = cls(**json.loads((folder / CONFIG).read_text())["settings"])
        encoder.freeze()
        return encoder

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """Features (B, D) float32 of images (B, C, H, W) float32, nominally in [0, 1]."""

    def forward_all(self, images: Tensor) -> Mapping[str, Tensor]:
        """Features (B, D) float32 by name of output, each from the same pass over images (B, C, H, W)."""
        return {"": self(images)}

    def signature_of(self, output: str) -> str:
        """The signature of one of the outputs."""
        return self.signature

    def tokens(self, images: Tensor) -> Tensor:
        """Spatial features (B, N, Z) of images (B, C, H, W) in [0, 1], where `spatial` says there are any."""
        raise NotImplementedError(f"{type(self).__name__} has no spatial features")

    def freeze(self) -> Encoder:
        """Switch off parameter gradients and training behaviour; gradients to the images stay."""
        self.requires_grad_(False)
        return self.eval()

    def untrained(self, seed: int) -> Self:
        """A frozen copy with the same architecture and preprocessing, its weights drawn anew from `seed`.

        The draws are the CPU's whatever the device. The signature stays that of the original, which names the
        architecture: whoever trains the copy says so in its own signature.

        Raises:
            UserError: there is nothing to train, or a layer does not know how it starts.
        """
        twin = copy.deepcopy(self)
        device = next((p.device for p in twin.parameters()), None)
        with seeded(seed):
            twin.cpu().draw_weights()
        if device is not None:
            twin.to(device)
        twin.freeze()
        return twin

    def draw_weights(self) -> None:
        """Give every layer the weights it starts with before training, from torch's global generator.

        A network whose layers are not torch's own overrides this.

        Raises:
            UserError: as `untrained`.
        """
        own = [module for module in self.modules() if any(True for _ in module.parameters(recurse=False))]
        if not own:
            raise UserError(f"encoder '{self.signature}' has no weights that could be trained")
        for module in own:
            start = getattr(module, "reset_parameters", None)
            if start is None:
                raise UserError(
                    f"encoder '{self.signature}' cannot be trained from scratch: its layer {type(module).__name__} has "
                    "no reset_parameters; let the encoder's class override draw_weights"
                )
            start()
