"""Low-rank updates of linear layers (LoRA, arXiv 2106.09685): W + (alpha/r) B A, with B zero at the start."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from drlbench.errors import UserError


class LowRankLinear(nn.Linear):
    """A linear layer with a frozen weight (out, in) and a trained product of rank r beside it."""

    def __init__(self, layer: nn.Linear, rank: int, alpha: float, generator: torch.Generator) -> None:
        super().__init__(layer.in_features, layer.out_features, layer.bias is not None, device="meta")
        self.weight, self.bias = layer.weight, layer.bias
        bound = 1 / math.sqrt(layer.in_features)  # uniform, as PyTorch draws a linear layer's weight
        drawn = torch.rand(rank, layer.in_features, generator=generator) * 2 * bound - bound
        self.down = nn.Parameter(drawn.to(layer.weight))  # (r, in)
        self.up = nn.Parameter(torch.zeros(layer.out_features, rank).to(layer.weight))  # (out, r)
        self.scale = alpha / rank

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.scale * (x @ self.down.T) @ self.up.T

    def merged(self) -> nn.Linear:
        """The plain layer this one computes."""
        plain = nn.Linear(self.in_features, self.out_features, self.bias is not None, device="meta")
        plain.weight = nn.Parameter(self.weight + self.scale * self.up @ self.down, requires_grad=False)
        plain.bias = self.bias
        return plain


def _layers(network: nn.Module, kind: type[nn.Linear]) -> Iterator[tuple[nn.Module, str, nn.Linear]]:
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is kind:
                yield parent, name, child


def add_low_rank(network: nn.Module, rank: int, alpha: float, seed: int) -> None:
    """Freeze a network and give each of its linear layers a trained low-rank update.

    Raises:
        UserError: the network has no linear layer.
    """
    network.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    layers = list(_layers(network, nn.Linear))
    if not layers:
        raise UserError("lora_rank: the network has no linear layers to adapt")
    for parent, name, layer in layers:
        setattr(parent, name, LowRankLinear(layer, rank, alpha, generator))


def merge_low_rank(network: nn.Module) -> None:
    """Replace every low-rank layer by the plain one it stands for; parameter names are the original ones again."""
    for parent, name, layer in list(_layers(network, LowRankLinear)):
        assert isinstance(layer, LowRankLinear)
        setattr(parent, name, layer.merged())
