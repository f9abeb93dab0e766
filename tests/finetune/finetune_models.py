"""Tiny velocity models in closed form plus a trainable correction, for tests only."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from drlbench.backbones.base import PixelRange, VelocityModel
from drlbench.rewards.base import Reward


class IdentityAutoencoder:
    def encode(self, images: Tensor) -> Tensor:
        return images

    def decode(self, latents: Tensor) -> Tensor:
        return latents


class Correction(nn.Module):
    """An MLP on (x, t features, class); its last layer starts at zero."""

    def __init__(self, dim: int, classes: int, width: int, zero: bool = True) -> None:
        super().__init__()
        self.embed = nn.Embedding(classes + 1, width)
        self.first = nn.Linear(dim + 9, width)
        self.second = nn.Linear(width, width)
        self.last = nn.Linear(width, dim)
        if zero:
            nn.init.zeros_(self.last.weight)
            nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        waves = t[:, None] * torch.arange(1, 5)
        features = torch.cat([x, t[:, None], waves.sin(), waves.cos()], 1)
        h = torch.nn.functional.silu(self.first(features) + self.embed(y))
        return self.last(torch.nn.functional.silu(self.second(h)))


class MixtureModel(VelocityModel):
    """Exact velocity of an isotropic Gaussian mixture on R^D plus a trainable correction.

    Args: means (M, D), std, weights (M,).
    """

    def __init__(self, means: Tensor, std: float, weights: Tensor, width: int = 64, noise_scale: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("means", means.float())
        self.register_buffer("log_weights", weights.float().log())
        self.std, self.noise_scale = std, noise_scale
        self.net = Correction(means.shape[1], 1, width)
        self.autoencoder = IdentityAutoencoder()
        self.latent_shape = (1, 1, means.shape[1])
        self.num_classes = 1

    def velocity(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        flat = x.flatten(1)
        tt = t[:, None]
        total = tt**2 * self.std**2 + (1 - tt) ** 2 * self.noise_scale**2  # (B, 1)
        centred = flat[:, None] - tt[..., None] * self.means  # (B, M, D)
        logits = self.log_weights - centred.square().sum(-1) / (2 * total)
        gain = (tt * self.std**2 - (1 - tt) * self.noise_scale**2) / total
        each = self.means + gain[..., None] * centred
        mixed = (logits.softmax(1)[..., None] * each).sum(1)
        return (mixed + self.net(flat, t, y)).view_as(x)

    def log_density(self, x: Tensor) -> Tensor:
        """log p_base (N,) of points (N, D), without the correction."""
        square = (x[:, None] - self.means).square().sum(-1)
        dim = self.means.shape[1]
        log_norm = -0.5 * dim * torch.log(torch.tensor(2 * torch.pi * self.std**2))
        return torch.logsumexp(self.log_weights - square / (2 * self.std**2), 1) + log_norm


class TinyBlock(nn.Sequential):
    """Two layers; its forward is written here because torch's compiler long left torch's own modules alone."""

    def __init__(self, width: int) -> None:
        super().__init__(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, h: Tensor) -> Tensor:
        return self[2](self[1](self[0](h)))


class TinyNet(nn.Module):
    """A residual MLP with repeated blocks, to stand for a backbone (blocks, linears, embedding)."""

    def __init__(self, dim: int, classes: int, width: int, depth: int) -> None:
        super().__init__()
        self.enter = nn.Linear(dim + 1, width)
        self.embed = nn.Embedding(classes + 1, width)
        self.blocks = nn.ModuleList([TinyBlock(width) for _ in range(depth)])
        self.leave = nn.Linear(width, dim)

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        h = self.enter(torch.cat([x, t[:, None]], 1)) + self.embed(y)
        for block in self.blocks:
            h = h + block(h)
        return self.leave(h)


class TinyModel(VelocityModel):
    """An untrained network on (1, 2, 2) images in [-1, 1], three classes."""

    def __init__(self, seed: int = 0, width: int = 16, depth: int = 2) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.net = TinyNet(4, 3, width, depth)
        self.autoencoder = PixelRange()
        self.latent_shape = (1, 2, 2)
        self.num_classes = 3

    def velocity(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        return self.net(x.flatten(1), t, y).view_as(x)


class FunctionReward(Reward):
    """Any function of flattened images."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function, self.name, self.signature = function, "function", "function"

    def forward(self, images: Tensor, y: Tensor) -> Tensor:
        return self.function(images.flatten(1))


def quadratic_reward() -> FunctionReward:
    target = torch.tensor([0.9, 0.1, 0.6, 0.3])
    return FunctionReward(lambda x: -3 * (x - target).square().sum(1))
