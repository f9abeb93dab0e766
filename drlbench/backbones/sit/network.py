"""SiT, scalable interpolant transformer (Ma et al., arXiv 2401.08740; the transformer is DiT's).

Time runs from noise at 0 to data at 1 and the output is data minus noise: already the one convention.

Shapes: B batch, C channels, H and W latent height and width, N tokens, D width, p patch.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isqrt
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from drlbench.backbones.base import Autoencoder, Backbone, Procedure, VelocityModel
from drlbench.backbones.infer import depth_of, needed
from drlbench.backbones.layers import (
    AdaLNBlock,
    Attention,
    FinalLayer,
    LabelEmbedder,
    Mlp,
    PatchEmbed,
    TimestepEmbedder,
    initialise,
    plain_layer_norm,
    sincos_position_embedding,
    unpatchify,
)
from drlbench.backbones.sit import published
from drlbench.backbones.sit.official import SiTProcedure
from drlbench.errors import UserError

HEADS = {width: heads for _, width, heads in published.TRANSFORMERS.values()}
GUIDED_CHANNELS = 3  # the official guidance leaves the fourth latent channel conditional


def check_sizes(name: str, input_size: int, patch_size: int, hidden_size: int, num_heads: int) -> None:
    """Refuse sizes that do not divide.

    Raises:
        UserError: names the two arguments and what would be right.
    """
    if input_size % patch_size:
        raise UserError(f"{name}: input_size {input_size} is not a multiple of patch_size {patch_size}")
    if hidden_size % num_heads:
        raise UserError(f"{name}: hidden_size {hidden_size} is not a multiple of num_heads {num_heads}")
    if hidden_size % 4:
        raise UserError(f"{name}: hidden_size {hidden_size} is not a multiple of 4 (two sines and cosines per token)")


class SiT(Backbone):
    """The network; argument names are the official constructor's.

    Args:
        input_size: height and width of the latent.
        learn_sigma: the checkpoint's output has twice the channels; the second half is dropped.
        class_dropout_prob: 0 leaves out the null row of the label table; the dropping itself is the trainer's.
    """

    family: ClassVar[str] = "sit"
    official: ClassVar[Procedure | None] = SiTProcedure()
    # Timm's vision transformers, too, have `blocks.0.attn.qkv.weight`, and lie in the same files as encoders.
    fingerprint = "blocks.0.adaLN_modulation.1.weight"
    sizes = published.SIZES
    autoencoder = published.AUTOENCODER
    autoencoder_cards = published.AUTOENCODERS
    cards = published.CARDS
    recipe = published.RECIPE
    qk_norm: type[nn.Module] | None = None

    def __init__(
        self,
        input_size: int = 32,
        patch_size: int = 2,
        in_channels: int = 4,
        hidden_size: int = 1152,
        depth: int = 28,
        num_heads: int = 16,
        mlp_ratio: float = 4.0,
        class_dropout_prob: float = 0.1,
        num_classes: int = 1000,
        learn_sigma: bool = True,
    ) -> None:
        super().__init__()
        check_sizes(self.family, input_size, patch_size, hidden_size, num_heads)
        self.patch_size, self.in_channels, self.learn_sigma = patch_size, in_channels, learn_sigma
        self.num_classes = num_classes
        self.latent_shape = (in_channels, input_size, input_size)
        self.x_embedder = PatchEmbed(patch_size, in_channels, hidden_size)
        self.t_embedder = TimestepEmbedder(hidden_size)
        self.y_embedder = LabelEmbedder(num_classes + (class_dropout_prob > 0), hidden_size)
        table = sincos_position_embedding(hidden_size, input_size // patch_size)
        self.pos_embed = nn.Parameter(table, requires_grad=False)
        self.blocks = nn.ModuleList(
            AdaLNBlock(
                plain_layer_norm(hidden_size),
                Attention(hidden_size, num_heads, self.qk_norm),
                plain_layer_norm(hidden_size),
                Mlp(hidden_size, int(hidden_size * mlp_ratio)),
            )
            for _ in range(depth)
        )
        out = patch_size**2 * in_channels * (2 if learn_sigma else 1)
        self.final_layer = FinalLayer(plain_layer_norm(hidden_size), hidden_size, out)
        initialise(self)

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """Velocity data - noise of x (B, C, H, W) at t (B,) in [0, 1], t = 0 noise, for labels y (B,) int64."""
        c = self.condition(t, y)
        tokens = self.x_embedder(x) + self.pos_embed  # (B, N, D)
        for block in self.blocks:
            tokens = block(tokens, c)
        return self.output(tokens, c)

    def condition(self, t: Tensor, y: Tensor) -> Tensor:
        """Sum of the time and label embeddings, (B, 1, D)."""
        return (self.t_embedder(t) + self.y_embedder(y))[:, None]

    def output(self, tokens: Tensor, c: Tensor) -> Tensor:
        """Tokens (B, N, D) -> (B, C, H, W); of a learnt variance's channels only the first half is kept."""
        channels = self.in_channels * (2 if self.learn_sigma else 1)
        return unpatchify(self.final_layer(tokens, c), self.patch_size, channels)[:, : self.in_channels]

    def forward_with_cfg(self, x: Tensor, t: Tensor, y: Tensor, cfg_scale: float) -> Tensor:
        """The official guidance: x (2B, ...) whose second half is ignored, y the labels followed by null labels.

        Only the first three channels are guided; the others keep what each half predicts.
        """
        both = self(torch.cat([x.chunk(2)[0]] * 2), t, y)
        cond, uncond = both[:, :GUIDED_CHANNELS].chunk(2)
        guided = uncond + cfg_scale * (cond - uncond)
        return torch.cat([torch.cat([guided, guided]), both[:, GUIDED_CHANNELS:]], dim=1)

    @classmethod
    def infer_architecture(cls, state: Mapping[str, Tensor], given: Mapping[str, Any]) -> dict[str, Any]:
        width, channels, patch, _ = state["x_embedder.proj.weight"].shape
        side = isqrt(state["pos_embed"].shape[1])
        if "num_heads" not in given and width not in HEADS:
            raise needed(cls.family, "num_heads", f"no official size is {width} wide")
        return {
            "input_size": side * patch,
            "patch_size": patch,
            "in_channels": channels,
            "hidden_size": width,
            "depth": depth_of(state),
            "num_heads": int(given["num_heads"]) if "num_heads" in given else HEADS[width],
            "mlp_ratio": state["blocks.0.mlp.fc1.weight"].shape[0] / width,
            "num_classes": state["y_embedder.embedding_table.weight"].shape[0] - 1,
            "learn_sigma": state["final_layer.linear.weight"].shape[0] == 2 * patch**2 * channels,
        }

    def load_weights(self, state: Mapping[str, Tensor]) -> None:
        """Load official weights; whether they were trained with learn_sigma is read off the final layer."""
        self._match_learn_sigma(state)
        super().load_weights(state)

    def _match_learn_sigma(self, weights: Mapping[str, Tensor]) -> None:
        linear = weights.get("final_layer.linear.weight")
        width = self.final_layer.linear.in_features
        narrow = self.patch_size**2 * self.in_channels
        if linear is None or linear.shape not in ((narrow, width), (2 * narrow, width)):
            return  # the strict loading names the mistake
        if linear.shape[0] != self.final_layer.linear.out_features:
            self.learn_sigma = linear.shape[0] == 2 * narrow
            old = self.final_layer.linear.weight
            self.final_layer.linear = nn.Linear(width, linear.shape[0], device=old.device, dtype=old.dtype)

    def velocity_model(self, autoencoder: Autoencoder) -> VelocityModel:
        return SiTVelocity(self, autoencoder)


class SiTVelocity(VelocityModel):
    """SiT is already in the one convention."""

    def __init__(self, net: SiT, autoencoder: Autoencoder) -> None:
        super().__init__()
        self.net, self.autoencoder = net, autoencoder
        self.latent_shape, self.num_classes = net.latent_shape, net.num_classes

    def velocity(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        return self.net(x, t, y)
