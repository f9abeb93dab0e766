"""JiT, "just image transformers" (Li and He, arXiv 2511.13720): patches of pixels in, the clean image out.

Time runs from noise at 0 to data at 1. The network predicts the image x; the velocity follows from it.

Shapes: B batch, C channels, H and W image height and width, N tokens, D width, L in-context tokens, p patch.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isqrt
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from drlbench.backbones.base import Autoencoder, Backbone, Procedure, VelocityModel
from drlbench.backbones.infer import depth_of, needed
from drlbench.backbones.jit import published
from drlbench.backbones.jit.official import JiTProcedure
from drlbench.backbones.layers import (
    AdaLNBlock,
    Attention,
    FinalLayer,
    LabelEmbedder,
    RMSNorm,
    SwiGLU,
    TimestepEmbedder,
    initialise,
    rotary_table,
    sincos_position_embedding,
    unpatchify,
)
from drlbench.backbones.sit.network import check_sizes
from drlbench.errors import UserError

CONTEXT_START = {(depth, width): start for depth, width, _, _, start in published.JITS.values()}
T_EPS = 0.05  # the velocity divides by max(1 - t, T_EPS), in training and in sampling


class BottleneckPatchEmbed(nn.Module):
    """Patches (B, C, H, W) -> bottleneck -> tokens (B, N, D), both maps linear."""

    def __init__(self, patch: int, channels: int, bottleneck: int, width: int) -> None:
        super().__init__()
        self.proj1 = nn.Conv2d(channels, bottleneck, kernel_size=patch, stride=patch, bias=False)
        self.proj2 = nn.Conv2d(bottleneck, width, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj2(self.proj1(x)).flatten(2).transpose(1, 2)


class JiT(Backbone):
    """The network; argument names are the official constructor's. Training-time dropout is left out.

    Args:
        input_size: height and width of the image.
        in_context_len: label tokens put before the image tokens; 0 for none.
        in_context_start: the block (counted from 0) before which they are put.
        attn_drop, proj_drop: have no effect; the authors' dropout acts in their training only.
    """

    family: ClassVar[str] = "jit"
    official: ClassVar[Procedure | None] = JiTProcedure()
    fingerprint = "x_embedder.proj1.weight"
    sizes = published.SIZES
    cards = published.CARDS
    recipe = published.RECIPE
    official_average: ClassVar[str] = "model_ema1"
    official_prefix: ClassVar[str] = "net."
    time_floor = T_EPS
    cos: Tensor
    sin: Tensor

    def __init__(
        self,
        input_size: int = 256,
        patch_size: int = 16,
        in_channels: int = 3,
        hidden_size: int = 1024,
        depth: int = 24,
        num_heads: int = 16,
        mlp_ratio: float = 4.0,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
        num_classes: int = 1000,
        bottleneck_dim: int = 128,
        in_context_len: int = 32,
        in_context_start: int = 8,
    ) -> None:
        super().__init__()
        check_sizes("jit", input_size, patch_size, hidden_size, num_heads)
        head_width = hidden_size // num_heads
        if head_width % 4:
            raise UserError(
                f"jit: hidden_size / num_heads is {head_width}, not a multiple of 4 (rotary pairs per axis)"
            )
        self.patch_size, self.in_channels, self.num_classes = patch_size, in_channels, num_classes
        self.in_context_len, self.in_context_start = in_context_len, in_context_start
        self.latent_shape = (in_channels, input_size, input_size)
        self.noise_scale = 2.0 if input_size >= 512 else 1.0
        self.x_embedder = BottleneckPatchEmbed(patch_size, in_channels, bottleneck_dim, hidden_size)
        self.t_embedder = TimestepEmbedder(hidden_size)
        self.y_embedder = LabelEmbedder(num_classes + 1, hidden_size)
        grid = input_size // patch_size
        self.pos_embed = nn.Parameter(sincos_position_embedding(hidden_size, grid), requires_grad=False)
        if in_context_len > 0:
            self.in_context_posemb = nn.Parameter(torch.empty(1, in_context_len, hidden_size))
            nn.init.normal_(self.in_context_posemb, std=0.02)
        cos, sin = rotary_table(head_width, grid)
        # In-context tokens come first and are not rotated.
        self.register_buffer("cos", torch.cat([torch.ones(in_context_len, head_width), cos]), persistent=False)
        self.register_buffer("sin", torch.cat([torch.zeros(in_context_len, head_width), sin]), persistent=False)
        self.blocks = nn.ModuleList(
            AdaLNBlock(
                RMSNorm(hidden_size),
                Attention(hidden_size, num_heads, RMSNorm),
                RMSNorm(hidden_size),
                SwiGLU(hidden_size, int(int(hidden_size * mlp_ratio) * 2 / 3)),
            )
            for _ in range(depth)
        )
        self.final_layer = FinalLayer(RMSNorm(hidden_size), hidden_size, patch_size**2 * in_channels)
        initialise(self)

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """Predicted clean image in [-1, 1] (B, C, H, W) of x (B, C, H, W) at t (B,), t = 0 noise, labels y (B,)."""
        label = self.y_embedder(y)
        c = (self.t_embedder(t) + label)[:, None]  # (B, 1, D)
        tokens = self.x_embedder(x) + self.pos_embed  # (B, N, D)
        context = 0
        for index, block in enumerate(self.blocks):
            if self.in_context_len > 0 and index == self.in_context_start:
                tokens = torch.cat([label[:, None] + self.in_context_posemb, tokens], dim=1)  # (B, L + N, D)
                context = self.in_context_len
            first = self.in_context_len - context
            tokens = block(tokens, c, (self.cos[first:], self.sin[first:]))
        return unpatchify(self.final_layer(tokens[:, context:], c), self.patch_size, self.in_channels)

    def official_velocity(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        return velocity_from_image(self(x, t, y), x, t)

    @classmethod
    def infer_architecture(cls, state: Mapping[str, Tensor], given: Mapping[str, Any]) -> dict[str, Any]:
        bottleneck, channels, patch, _ = state["x_embedder.proj1.weight"].shape
        _, tokens, width = state["pos_embed"].shape
        depth = depth_of(state)
        context = state["in_context_posemb"].shape[1] if "in_context_posemb" in state else 0
        start = given.get("in_context_start", CONTEXT_START.get((depth, width), 0 if context == 0 else None))
        if start is None:
            raise needed(cls.family, "in_context_start", f"no official size is {width} wide and {depth} deep")
        return {
            "input_size": isqrt(tokens) * patch,
            "patch_size": patch,
            "in_channels": channels,
            "hidden_size": width,
            "depth": depth,
            "num_heads": width // state["blocks.0.attn.q_norm.weight"].shape[0],
            "mlp_ratio": _swiglu_ratio(cls.family, width, state["blocks.0.mlp.w3.weight"].shape[1], given),
            "num_classes": state["y_embedder.embedding_table.weight"].shape[0] - 1,
            "bottleneck_dim": bottleneck,
            "in_context_len": context,
            "in_context_start": start,
        }

    def velocity_model(self, autoencoder: Autoencoder) -> VelocityModel:
        return JiTVelocity(self, autoencoder)


def _swiglu_ratio(family: str, width: int, hidden: int, given: Mapping[str, Any]) -> float:
    """The ratio r with int(int(r D) 2 / 3) = hidden, which is 4 in every released model."""
    if "mlp_ratio" in given:
        return float(given["mlp_ratio"])
    for ratio in (4.0, 2.0, 8.0, 3.0, 6.0):
        if int(int(width * ratio) * 2 / 3) == hidden:
            return ratio
    raise needed(family, "mlp_ratio", f"hidden width {hidden}")


def velocity_from_image(image: Tensor, x: Tensor, t: Tensor) -> Tensor:
    """Velocity (image - x) / max(1 - t, 0.05) of a predicted clean image; all (B, C, H, W) but t (B,)."""
    return (image - x) / (1 - t).clamp(min=T_EPS)[:, None, None, None]


class JiTVelocity(VelocityModel):
    """Velocity from the predicted image. At 512 pixels the noise has standard deviation 2 instead of 1."""

    net: JiT
    time_floor = T_EPS

    def __init__(self, net: JiT, autoencoder: Autoencoder) -> None:
        super().__init__()
        self.net, self.autoencoder = net, autoencoder
        self.latent_shape, self.num_classes = net.latent_shape, net.num_classes
        self.noise_scale = net.noise_scale

    def velocity(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        return self.net.official_velocity(x, t, y)
