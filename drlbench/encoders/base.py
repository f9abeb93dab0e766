"""The frozen representation that both rewards and metrics look through.

Shapes: B batch, C channels, H and W image height and width, D feature dimension.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from typing import Self

from torch import Tensor, nn

from drlbench.errors import UserError
from drlbench.training import seeded


class Encoder(nn.Module, ABC):
    """Images to features: frozen, in eval mode, differentiable with respect to the images.

    Attributes:
        dim: D.
        signature: a short string naming everything a feature depends on: network and revision or training
            stage, weights' sha256 (first 12 hex digits), resize filter, crop, normalisation, token or pooling.
    """

    dim: int
    signature: str

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """Features (B, D) float32 of images (B, C, H, W) float32, nominally in [0, 1]."""

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
