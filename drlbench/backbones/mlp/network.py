"""A multilayer perceptron as a velocity: for points in the plane, where a transformer has nothing to attend to.

Shapes: B batch, C channels, H and W height and width, S = C H W, D width.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from drlbench.backbones.base import Autoencoder, Backbone, VelocityModel
from drlbench.backbones.layers import LabelEmbedder
from drlbench.errors import UserError

FREQUENCIES = 8  # sines and cosines of pi t, 2 pi t, ... 8 pi t


class MLP(Backbone):
    """Residual layers of SiLU units on the flattened input, with time and class added to the first.

    Args:
        shape: (C, H, W) of one input.
        hidden_size, depth: D, and the number of residual layers.
    """

    family: ClassVar[str] = "mlp"
    fingerprint = "embed_time.weight"

    def __init__(
        self, shape: tuple[int, int, int] = (1, 1, 2), hidden_size: int = 32, depth: int = 2, num_classes: int = 1
    ) -> None:
        super().__init__()
        if len(shape) != 3 or min(shape) < 1:
            raise UserError(f"mlp: shape {list(shape)} is not (channels, height, width)")
        self.latent_shape, self.num_classes = (shape[0], shape[1], shape[2]), num_classes
        size = shape[0] * shape[1] * shape[2]
        self.embed = nn.Linear(size, hidden_size)
        self.embed_time = nn.Linear(2 * FREQUENCIES, hidden_size)
        self.embed_label = LabelEmbedder(num_classes + 1, hidden_size)
        self.layers = nn.ModuleList(nn.Linear(hidden_size, hidden_size) for _ in range(depth))
        self.out = nn.Linear(hidden_size, size)

    @classmethod
    def arguments_for(cls, latent_shape: tuple[int, int, int], num_classes: int) -> dict[str, Any]:
        return {"shape": latent_shape, "num_classes": num_classes}

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """Velocity data - noise of x (B, C, H, W) at t (B,) in [0, 1], t = 0 noise, for labels y (B,) int64."""
        angle = torch.pi * t[:, None] * torch.arange(1, FREQUENCIES + 1, device=t.device)  # (B, FREQUENCIES)
        h = self.embed(x.flatten(1)) + self.embed_time(torch.cat([angle.sin(), angle.cos()], 1)) + self.embed_label(y)
        for layer in self.layers:
            h = h + layer(nn.functional.silu(h))  # (B, D)
        velocity: Tensor = self.out(nn.functional.silu(h))
        return velocity.view_as(x)

    def velocity_model(self, autoencoder: Autoencoder) -> VelocityModel:
        return MLPVelocity(self, autoencoder)


class MLPVelocity(VelocityModel):
    """`MLP` is already in the one convention."""

    def __init__(self, net: MLP, autoencoder: Autoencoder) -> None:
        super().__init__()
        self.net, self.autoencoder = net, autoencoder
        self.latent_shape, self.num_classes = net.latent_shape, net.num_classes

    def velocity(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        velocity: Tensor = self.net(x, t, y)
        return velocity
