"""DINOv2 and DINOv3 vision transformers (Oquab et al. 2023; Siméoni et al. 2025) through transformers.

The feature is the class token after the last layer norm. Presets name everything that changes a feature and end in a
version; a changed definition gets a new version, never the old name:
    bicubic-8bit   squash to 224 as Pillow does on 8-bit images: dgm-eval's DINOv2-FD
    bicubic-float  antialiased bicubic on floats, not clamped: EDM2's DINOv2-FD
    bilinear-aa    antialiased bilinear on floats: DINOv3's own image processor
No convention has been published for an FD in DINOv3: `dinov3-vitl16/224/bilinear-aa/cls@1` is this harness's.
Position embeddings of DINOv2 are interpolated from 518 to 224 pixels by transformers (bicubic), which differs
slightly from the torch.hub release.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from drlbench.encoders.base import Encoder
from drlbench.encoders.preprocess import IMAGENET, Preprocess
from drlbench.encoders.pretrained import FromCard, load_transformers, pick, untrained_transformers
from drlbench.encoders.weights import locate, read_state, weights_hash
from drlbench.weights.asset import Asset
from drlbench.weights.catalogue import ASSETS


@dataclass(frozen=True)
class ViT:
    """One published network: where its weights are and its shape."""

    family: str
    source: Asset
    width: int
    depth: int
    heads: int

    def config(self, attention: str) -> tuple[type[Any], Any]:
        """The transformers class and its configuration."""
        from transformers import Dinov2Config, Dinov2Model, DINOv3ViTConfig, DINOv3ViTModel

        shape: dict[str, Any] = {
            "hidden_size": self.width,
            "num_hidden_layers": self.depth,
            "num_attention_heads": self.heads,
            "attn_implementation": attention,
        }
        if self.family == "dinov2":
            return Dinov2Model, Dinov2Config(**shape, image_size=518)
        return DINOv3ViTModel, DINOv3ViTConfig(**shape, intermediate_size=4 * self.width, num_register_tokens=4)


NETWORKS = {
    name: ViT(name.partition("-")[0], ASSETS[name], *shape)
    for name, shape in {
        "dinov2-vitb14": (768, 12, 12),
        "dinov2-vitl14": (1024, 24, 16),
        "dinov3-vits16": (384, 12, 6),
        "dinov3-vitb16": (768, 12, 12),
        "dinov3-vitl16": (1024, 24, 16),
    }.items()
}
RESIZERS = {
    "bicubic-8bit": Preprocess(224, "bicubic", "squash", True, *IMAGENET),
    "bicubic-float": Preprocess(224, "bicubic", "squash", False, *IMAGENET),
    "bilinear-aa": Preprocess(224, "bilinear", "squash", False, *IMAGENET),
}
PRESETS = {f"{network}/224/{resizer}/cls@1": (network, resizer) for network in NETWORKS for resizer in RESIZERS}


class DINO(FromCard, Encoder):
    """The class token of a DINO network."""

    kind = "dinov2"

    def __init__(self, preset: str, weights: str | Path | None = None, attention: str = "sdpa") -> None:
        """Load and freeze.

        Args:
            preset: a name of `PRESETS`.
            weights: a local safetensors or torch file (transformers' or timm's names), or its folder; by
                default the Hub's cache, then the Hub.
            attention: "sdpa", or "eager" where second derivatives are needed (an R1 penalty through the encoder).

        Raises:
            UserError: unknown preset, or a checkpoint of another network.
            MissingPrerequisite: no weights; for gated ones the message says how access is got.
        """
        super().__init__()
        name, resizer = pick(PRESETS, preset, self.kind)
        network: ViT = NETWORKS[name]
        self.settings = {"preset": preset, "weights": None if weights is None else str(weights), "attention": attention}
        self.preprocess = RESIZERS[resizer]
        path = locate(network.source, weights)
        model, config = network.config(attention)
        self.network = load_transformers(model, config, from_timm(read_state(path)), str(path))
        self.dim = network.width
        self.signature = f"{preset}:{weights_hash(path)[:12]}"
        self.freeze()

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.network(self.preprocess(images)).pooler_output
        return features

    def draw_weights(self) -> None:
        self.network = untrained_transformers(self.network)


class DINOv2(DINO):
    """DINOv2-L with dgm-eval's preprocessing unless another preset is named."""

    kind = "dinov2"

    def __init__(
        self,
        preset: str = "dinov2-vitl14/224/bicubic-8bit/cls@1",
        weights: str | Path | None = None,
        attention: str = "sdpa",
    ) -> None:
        super().__init__(preset, weights, attention)


class DINOv3(DINO):
    """DINOv3-L with its own processor's preprocessing unless another preset is named."""

    kind = "dinov3"

    def __init__(
        self,
        preset: str = "dinov3-vitl16/224/bilinear-aa/cls@1",
        weights: str | Path | None = None,
        attention: str = "sdpa",
    ) -> None:
        super().__init__(preset, weights, attention)


_TIMM_NAMES = (
    (r"^cls_token$", "embeddings.cls_token"),
    (r"^pos_embed$", "embeddings.position_embeddings"),
    (r"^patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
    (r"^norm\.", "layernorm."),
    (r"\.attn\.proj\.", ".attention.o_proj."),
    (r"\.ls(\d)\.gamma$", r".layer_scale\1.lambda1"),
    (r"^blocks\.", "encoder.layer."),
)
_TIMM_NAMES_V3 = (
    (r"^reg_token$", "embeddings.register_tokens"),
    (r"^patch_embed\.proj\.", "embeddings.patch_embeddings."),
    (r"\.gamma_(\d)$", r".layer_scale\1.lambda1"),
    (r"\.attn\.(q|v)_bias$", r".attention.\1_proj.bias"),
    (r"\.mlp\.fc1\.", ".mlp.up_proj."),
    (r"\.mlp\.fc2\.", ".mlp.down_proj."),
    (r"^blocks\.", "model.layer."),
    (r"^cls_token$", "embeddings.cls_token"),
    (r"\.attn\.proj\.", ".attention.o_proj."),
)


def from_timm(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """DINOv2 or DINOv3 weights under transformers' names if they come under timm's; otherwise as they are.

    timm keeps DINOv3 with the biases of queries and values (`_qkvb`) and without, where they are zero.
    """
    if "embeddings.cls_token" in state or "blocks.0.attn.qkv.weight" not in state:
        return state
    v3 = "reg_token" in state and "pos_embed" not in state
    renamed: dict[str, Tensor] = {}
    for key, value in state.items():
        new = key
        for pattern, replacement in _TIMM_NAMES_V3 if v3 else _TIMM_NAMES:
            new = re.sub(pattern, replacement, new)
        if ".attn.qkv." not in new:
            renamed[new] = value
            continue
        for letter, part in zip("qkv", value.chunk(3), strict=True):
            name = new.replace("attn.qkv", f"attention.{letter}_proj")
            renamed[name] = part.clone()
            if v3 and letter != "k" and key.replace("qkv.weight", f"{letter}_bias") not in state:
                renamed[name.replace("weight", "bias")] = value.new_zeros(len(part))
    token = renamed["embeddings.cls_token"]
    renamed["embeddings.mask_token"] = torch.zeros_like(token if v3 else token[0])  # only masked training reads it
    return renamed
