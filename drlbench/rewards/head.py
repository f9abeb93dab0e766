"""The class-conditional projection head, several at once.

logit(x, y) = w . h + b(y) + <h, e(y)> with h a linear map of the features; "mlp-2" puts two residual
blocks h + GELU(A h + c) between the map and the projection. Heads with their own weights are one batched
product; their logits are averaged.

Shapes: E heads, B batch, F feature dimension, W width.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

HeadKind = Literal["linear", "mlp-2"]


class ProjectionHead(nn.Module):
    """E independent heads of width W over features of dimension F, for classes 0 .. classes - 1."""

    def __init__(
        self, features: int, classes: int, kind: HeadKind, width: int, dropout: float, heads: int, seed: int
    ) -> None:
        super().__init__()
        self.dropout = dropout
        generator = torch.Generator().manual_seed(seed)

        def uniform(fan_in: int, *shape: int) -> nn.Parameter:
            bound = 1 / math.sqrt(fan_in)
            return nn.Parameter((torch.rand(heads, *shape, generator=generator) * 2 - 1) * bound)

        self.enter = uniform(features, features, width)  # (E, F, W)
        self.enter_bias = uniform(features, 1, width)
        depth = 2 if kind == "mlp-2" else 0
        self.inner = nn.ParameterList(uniform(width, width, width) for _ in range(depth))
        self.inner_bias = nn.ParameterList(uniform(width, 1, width) for _ in range(depth))
        self.project = uniform(width, width, 1)  # w
        # The class terms start at zero: the head starts unconditional.
        self.class_bias = nn.Parameter(torch.zeros(heads, classes))  # b
        self.class_embedding = nn.Parameter(torch.zeros(heads, classes, width))  # e

    def forward(self, features: Tensor, y: Tensor, noise: torch.Generator | None = None) -> Tensor:
        """Logits (E, B) of features (B, F) and labels y (B,); `noise` switches dropout on."""
        h = torch.baddbmm(self.enter_bias, features.expand(len(self.enter), -1, -1), self.enter)  # (E, B, W)
        for weight, bias in zip(self.inner, self.inner_bias, strict=True):
            h = h + self._drop(torch.nn.functional.gelu(torch.baddbmm(bias, h, weight)), noise)
        conditional = (h * self.class_embedding[:, y]).sum(-1)
        return (h @ self.project)[..., 0] + self.class_bias[:, y] + conditional

    def _drop(self, h: Tensor, noise: torch.Generator | None) -> Tensor:
        if noise is None or self.dropout == 0:
            return h
        keep = torch.empty_like(h).bernoulli_(1 - self.dropout, generator=noise)
        return h * keep.div_(1 - self.dropout)
