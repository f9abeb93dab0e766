"""RAE stage 2, DiTDH (Zheng et al., arXiv 2510.11690): a wide, shallow head on a transformer over encoder features.

Time runs from DATA at 0 to NOISE at 1 and the output is noise minus data: both are turned round in `DiTDHVelocity`.

Shapes: B batch, C channels, H and W latent height and width, N tokens, D width (of the trunk or of the head).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from drlbench.backbones.base import Autoencoder, Backbone, Procedure, VelocityModel
from drlbench.backbones.infer import depth_of
from drlbench.backbones.layers import (
    AdaLNBlock,
    Attention,
    FinalLayer,
    LabelEmbedder,
    Mlp,
    PatchEmbed,
    RMSNorm,
    SwiGLU,
    initialise,
    linears,
    plain_layer_norm,
    rotary_table,
    sincos_position_embedding,
    unpatchify,
)
from drlbench.backbones.rae import published
from drlbench.backbones.rae.official import RAEProcedure
from drlbench.backbones.sit.network import check_sizes
from drlbench.errors import UserError

SHIFT_BASE = 4096  # latent entries at which the schedule is not shifted
FOURIER = 256  # random frequencies of the time embedding


class GaussianFourierEmbedder(nn.Module):
    """t (B,) in [0, 1] -> (B, D): sines then cosines of 2 pi t W with fixed random W, then a two-layer MLP."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.W = nn.Parameter(torch.randn(FOURIER), requires_grad=False)
        self.mlp = nn.Sequential(nn.Linear(2 * FOURIER, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t: Tensor) -> Tensor:
        angle = t[:, None] * self.W * 2 * math.pi
        return self.mlp(torch.cat([angle.sin(), angle.cos()], dim=-1))


class RotaryTable(nn.Module):
    """Rotary tables as buffers: the official checkpoints carry them."""

    freqs_cos: Tensor
    freqs_sin: Tensor

    def __init__(self, head_width: int, grid: int) -> None:
        super().__init__()
        cos, sin = rotary_table(head_width, grid)
        self.register_buffer("freqs_cos", cos)
        self.register_buffer("freqs_sin", sin)

    def forward(self) -> tuple[Tensor, Tensor]:
        return self.freqs_cos, self.freqs_sin


class DiTDH(Backbone):
    """The network; argument names are the official constructor's. Pairs are (trunk, head); one `num_heads` is for both.

    Args:
        input_size: height and width of the latent.
        patch_size: must be 1, as the official code needs.
        wo_shift: must be False, as the official code needs.
        use_rope: must be True, as the official code needs.
        class_dropout_prob: 0 leaves out the null row of the label table.
    """

    family: ClassVar[str] = "rae"
    official: ClassVar[Procedure | None] = RAEProcedure()
    fingerprint = "s_embedder.proj.weight"
    sizes = published.SIZES
    autoencoder = published.AUTOENCODER
    autoencoder_cards = published.AUTOENCODERS
    cards = published.CARDS
    recipe = published.RECIPE

    def __init__(
        self,
        input_size: int = 16,
        patch_size: int = 1,
        in_channels: int = 768,
        hidden_size: Sequence[int] = (1152, 2048),
        depth: Sequence[int] = (28, 2),
        num_heads: Sequence[int] | int = (16, 16),
        mlp_ratio: float = 4.0,
        class_dropout_prob: float = 0.1,
        num_classes: int = 1000,
        use_qknorm: bool = False,
        use_swiglu: bool = True,
        use_rope: bool = True,
        use_rmsnorm: bool = True,
        wo_shift: bool = False,
        use_pos_embed: bool = True,
    ) -> None:
        super().__init__()
        for value, right, name in (
            (patch_size, 1, "patch_size"),
            (wo_shift, False, "wo_shift"),
            (use_rope, True, "use_rope"),
        ):
            if value != right:
                raise UserError(f"rae: {name} must be {right} (the official code fails with {value})")
        trunk, head = _pair("hidden_size", hidden_size)
        heads = _pair("num_heads", [num_heads] * 2 if isinstance(num_heads, int) else num_heads)
        for width, count in zip((trunk, head), heads, strict=True):
            check_sizes("rae", input_size, patch_size, width, count)
            if width // count % 4:
                raise UserError(f"rae: hidden_size / num_heads is {width // count}, not a multiple of 4 (rotary pairs)")
        self.depth = _pair("depth", depth)
        self.num_classes = num_classes
        self.latent_shape = (in_channels, input_size, input_size)
        self.time_shift = max(1.0, math.sqrt(math.prod(self.latent_shape) / SHIFT_BASE))
        self.s_embedder = PatchEmbed(1, in_channels, trunk)
        self.x_embedder = PatchEmbed(1, in_channels, head)
        self.t_embedder = GaussianFourierEmbedder(trunk)
        self.y_embedder = LabelEmbedder(num_classes + (class_dropout_prob > 0), trunk)
        self.s_projector = nn.Linear(trunk, head) if trunk != head else nn.Identity()
        self.use_pos_embed = use_pos_embed
        if use_pos_embed:
            self.pos_embed = nn.Parameter(sincos_position_embedding(trunk, input_size), requires_grad=False)
        self.enc_feat_rope = RotaryTable(trunk // heads[0], input_size)
        self.dec_feat_rope = RotaryTable(head // heads[1], input_size)
        norm = RMSNorm if use_rmsnorm else plain_layer_norm
        qk_norm = (RMSNorm if use_rmsnorm else nn.LayerNorm) if use_qknorm else None

        def block(part: int) -> AdaLNBlock:
            width = (trunk, head)[part]
            hidden = int(width * mlp_ratio)
            mlp = SwiGLU(width, int(2 / 3 * hidden)) if use_swiglu else Mlp(width, hidden)
            return AdaLNBlock(norm(width), Attention(width, heads[part], qk_norm), norm(width), mlp)

        self.blocks = nn.ModuleList(block(part) for part in (0, 1) for _ in range(self.depth[part]))
        self.final_layer = FinalLayer(norm(head), head, in_channels)
        initialise(self)
        for linear in linears(self.t_embedder.mlp):
            nn.init.normal_(linear.weight, std=0.02)

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """Velocity noise - data of x (B, C, H, W) at t (B,) in [0, 1], t = 1 noise, for labels y (B,) int64."""
        time = self.t_embedder(t)[:, None]  # (B, 1, D)
        # The modulations apply SiLU once more, in the official network too.
        c = F.silu(time + self.y_embedder(y)[:, None])
        s = self.s_embedder(x)  # (B, N, D)
        if self.use_pos_embed:
            s = s + self.pos_embed
        for block in self.blocks[: self.depth[0]]:
            s = block(s, c, self.enc_feat_rope())
        s = self.s_projector(F.silu(time + s))  # one condition per token
        tokens = self.x_embedder(x)
        for block in self.blocks[self.depth[0] :]:
            tokens = block(tokens, s, self.dec_feat_rope())
        return unpatchify(self.final_layer(tokens, s), 1, self.latent_shape[0])

    def forward_with_cfg(
        self, x: Tensor, t: Tensor, y: Tensor, cfg_scale: float, cfg_interval: tuple[float, float] = (0.0, 1.0)
    ) -> Tensor:
        """The official guidance: x (2B, ...) whose second half is ignored, y the labels followed by null labels.

        Where t lies outside the interval (its ends belong to it), the conditional velocity is returned in both halves.
        """
        cond, uncond = self(torch.cat([x.chunk(2)[0]] * 2), t, y).chunk(2)
        inside = ((t >= cfg_interval[0]) & (t <= cfg_interval[1])).chunk(2)[0][:, None, None, None]
        guided = torch.where(inside, uncond + cfg_scale * (cond - uncond), cond)
        return torch.cat([guided, guided])

    def forward_with_autoguidance(
        self,
        x: Tensor,
        t: Tensor,
        y: Tensor,
        cfg_scale: float,
        net_ag: DiTDH,
        cfg_interval: tuple[float, float] = (0.0, 1.0),
    ) -> Tensor:
        """Guidance away from a weaker network given the same labels; outside the interval this network's own output."""
        main, weak = self(x, t, y), net_ag(x, t, y)
        inside = ((t >= cfg_interval[0]) & (t <= cfg_interval[1]))[:, None, None, None]
        return torch.where(inside, weak + cfg_scale * (main - weak), main)

    @classmethod
    def infer_architecture(cls, state: Mapping[str, Tensor], given: Mapping[str, Any]) -> dict[str, Any]:
        trunk, channels = state["s_embedder.proj.weight"].shape[:2]
        head = state["x_embedder.proj.weight"].shape[0]
        rope = [state[f"{part}_feat_rope.freqs_cos"].shape for part in ("enc", "dec")]
        widths = [state[f"blocks.{k}.attn.proj.weight"].shape[0] for k in range(depth_of(state))]
        # Where trunk and head are equally wide only the count of blocks is known, and the head always has two.
        deep = [w == trunk for w in widths].index(False) if trunk != head else len(widths) - 2
        return {
            "input_size": math.isqrt(rope[0][0]),
            "in_channels": channels,
            "hidden_size": [trunk, head],
            "depth": list(given.get("depth", [deep, len(widths) - deep])),
            "num_heads": [trunk // rope[0][1], head // rope[1][1]],
            "num_classes": state["y_embedder.embedding_table.weight"].shape[0] - 1,
            "use_swiglu": "blocks.0.mlp.w3.weight" in state,
            "use_rmsnorm": "blocks.0.norm1.weight" in state,
            "use_pos_embed": "pos_embed" in state,
            "use_qknorm": "blocks.0.attn.q_norm.weight" in state,
        }

    def velocity_model(self, autoencoder: Autoencoder) -> VelocityModel:
        return DiTDHVelocity(self, autoencoder)


def _pair(name: str, value: Sequence[int]) -> tuple[int, int]:
    if isinstance(value, (int, str)) or len(value) != 2:
        raise UserError(f"rae: {name} must be two numbers, [trunk, head], not {value!r}")
    return int(value[0]), int(value[1])


class DiTDHVelocity(VelocityModel):
    """DiTDH with time and sign turned round, and its schedule sqrt(C H W / 4096) (no less than 1)."""

    def __init__(self, net: DiTDH, autoencoder: Autoencoder) -> None:
        super().__init__()
        self.net, self.autoencoder = net, autoencoder
        self.latent_shape, self.num_classes = net.latent_shape, net.num_classes
        self.time_shift = net.time_shift

    def velocity(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        return -self.net(x, 1 - t, y)
