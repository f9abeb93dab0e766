"""REPA, representation alignment (Yu et al., arXiv 2410.06940): SiT plus projectors onto a frozen encoder's features.

Time runs from DATA at 0 to NOISE at 1 and the output is noise minus data: both are turned round in `REPAVelocity`.

Shapes: B batch, C channels, H and W latent height and width, N tokens, D width, E encoders, Z feature width.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from drlbench.backbones.base import Autoencoder, Procedure, VelocityModel
from drlbench.backbones.layers import initialise
from drlbench.backbones.repa import published
from drlbench.backbones.repa.official import REPAProcedure
from drlbench.backbones.sit.network import SiT
from drlbench.errors import UserError

LEGACY_BLOCK = re.compile(r"^decoder_blocks\.(\d+)\.")


class REPA(SiT):
    """The network; argument names are the official constructor's.

    Args:
        path_type: the path the weights were trained on, "linear" or "cosine"; sampling follows it.
        encoder_depth: after this many blocks the tokens go through the projectors.
        z_dims: feature width Z of each encoder aligned with.
        projector_dim: hidden width of a projector.
        decoder_hidden_size: must equal hidden_size, as in every released model.
        use_cfg: has no effect; the null row of the label table follows class_dropout_prob.
        fused_attn: has no effect; the attention kernel is PyTorch's choice.
        qk_norm: LayerNorm on queries and keys, off in every released model.
    """

    family: ClassVar[str] = "repa"
    official: ClassVar[Procedure | None] = REPAProcedure()
    fingerprint = "projectors.0.0.weight"
    sizes = published.SIZES
    cards = published.CARDS

    def __init__(
        self,
        path_type: Literal["linear", "cosine"] = "linear",
        input_size: int = 32,
        patch_size: int = 2,
        in_channels: int = 4,
        hidden_size: int = 1152,
        decoder_hidden_size: int | None = None,
        encoder_depth: int = 8,
        depth: int = 28,
        num_heads: int = 16,
        mlp_ratio: float = 4.0,
        class_dropout_prob: float = 0.1,
        num_classes: int = 1000,
        use_cfg: bool = True,
        z_dims: Sequence[int] = (768,),
        projector_dim: int = 2048,
        fused_attn: bool = True,
        qk_norm: bool = False,
    ) -> None:
        if decoder_hidden_size not in (None, hidden_size):
            raise UserError(f"repa: decoder_hidden_size {decoder_hidden_size} must equal hidden_size {hidden_size}")
        if not 1 <= encoder_depth <= depth:
            raise UserError(f"repa: encoder_depth {encoder_depth} must lie between 1 and depth {depth}")
        if path_type not in ("linear", "cosine"):
            raise UserError(f"repa: path_type '{path_type}' is neither 'linear' nor 'cosine'")
        self.qk_norm = nn.LayerNorm if qk_norm else None
        super().__init__(
            input_size=input_size,
            patch_size=patch_size,
            in_channels=in_channels,
            hidden_size=hidden_size,
            depth=depth,
            num_heads=num_heads,
            mlp_ratio=mlp_ratio,
            class_dropout_prob=class_dropout_prob,
            num_classes=num_classes,
            learn_sigma=False,
        )
        self.path_type, self.encoder_depth = path_type, encoder_depth
        self.projectors = nn.ModuleList(_projector(hidden_size, projector_dim, width) for width in z_dims)
        initialise(self.projectors)

    def forward(  # type: ignore[override]  # it returns the projections too when asked
        self, x: Tensor, t: Tensor, y: Tensor, return_projections: bool = False
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        """Velocity noise - data of x (B, C, H, W) at t (B,) in [0, 1], t = 1 noise, for labels y (B,) int64.

        With `return_projections` also the projected tokens, one (B, N, Z) per encoder.
        """
        c = self.condition(t, y)
        tokens = self.x_embedder(x) + self.pos_embed
        projections: list[Tensor] = []
        for index, block in enumerate(self.blocks, start=1):
            tokens = block(tokens, c)
            if return_projections and index == self.encoder_depth:
                projections = [projector(tokens) for projector in self.projectors]
        velocity = self.output(tokens, c)
        return (velocity, projections) if return_projections else velocity

    @classmethod
    def infer_architecture(cls, state: Mapping[str, Tensor], given: Mapping[str, Any]) -> dict[str, Any]:
        found = super().infer_architecture(state, given)
        del found["learn_sigma"]
        legacy = {int(key.split(".")[1]) for key in state if LEGACY_BLOCK.match(key)}
        if legacy:
            found["encoder_depth"] = found["depth"]
            found["depth"] += max(legacy) + 1
        else:
            found["encoder_depth"] = min(8, found["depth"])  # the authors' default; sampling does not depend on it
        last = [state[f"projectors.{k}.4.weight"] for k in range(len({k for k in state if k.endswith(".4.weight")}))]
        return {**found, "z_dims": [w.shape[0] for w in last], "projector_dim": state["projectors.0.0.weight"].shape[0]}

    def load_weights(self, state: Mapping[str, Tensor]) -> None:
        """Load official weights, also of the first release, which called the later blocks `decoder_blocks`."""
        super().load_weights({self._current_name(key): value for key, value in state.items()})

    def _current_name(self, key: str) -> str:
        return LEGACY_BLOCK.sub(lambda match: f"blocks.{int(match[1]) + self.encoder_depth}.", key)

    def velocity_model(self, autoencoder: Autoencoder) -> VelocityModel:
        if self.path_type != "linear":
            raise UserError(
                "repa: only models of the linear path fit the one convention; this one is of the cosine path"
            )
        return REPAVelocity(self, autoencoder)


def _projector(width: int, hidden: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(width, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, out)
    )


def projection_loss(projections: Sequence[Tensor], features: Sequence[Tensor]) -> Tensor:
    """Minus the cosine between projected tokens and encoder features, averaged over images, tokens and encoders.

    Both hold one (B, N, Z) per encoder. The official training adds 0.5 times this to the velocity loss
    (arXiv 2410.06940, equation 8).
    """
    terms = [-F.cosine_similarity(p, f, dim=-1).mean() for p, f in zip(projections, features, strict=True)]
    return sum(terms[1:], start=terms[0]) / len(terms)


class REPAVelocity(VelocityModel):
    """REPA with time and sign turned round."""

    def __init__(self, net: REPA, autoencoder: Autoencoder) -> None:
        super().__init__()
        self.net, self.autoencoder = net, autoencoder
        self.latent_shape, self.num_classes = net.latent_shape, net.num_classes

    def velocity(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        return -self.net(x, 1 - t, y)

    def velocity_and_projections(self, x: Tensor, t: Tensor, y: Tensor) -> tuple[Tensor, list[Tensor]]:
        """`velocity`, and the projected tokens (B, N, Z) of each encoder, for training with alignment."""
        found = self.net(x, 1 - t, y, return_projections=True)
        return -found[0], found[1]
