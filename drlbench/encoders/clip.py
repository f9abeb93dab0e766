"""CLIP (Radford et al. 2021) through open_clip: image embeddings, and the text side that preference rewards need.

The only file that builds open_clip networks. OpenAI's weights use the quick GELU, LAION's do not; the two load into
each other without complaint and give wrong numbers, so the activation is part of each card.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from drlbench.encoders.base import Encoder
from drlbench.encoders.preprocess import OPENAI_CLIP, Preprocess
from drlbench.encoders.pretrained import FromCard, load_transformers, pick, untrained_transformers
from drlbench.encoders.weights import load_strict, locate, read_state, weights_hash
from drlbench.weights.asset import Asset
from drlbench.weights.catalogue import ASSETS


@dataclass(frozen=True)
class Card:
    """One published CLIP: open_clip's name of the architecture, where its weights are, and how images get in."""

    architecture: str
    source: Asset
    preprocess: Preprocess


PRESETS = {
    "clip-vitb32/224/bicubic-8bit/l2@1": Card(
        "ViT-B-32-quickgelu", ASSETS["clip-vitb32"], Preprocess(224, "bicubic", "crop", True, *OPENAI_CLIP)
    ),
    "clip-vitl14/224/bicubic-8bit/l2@1": Card(
        "ViT-L-14-quickgelu", ASSETS["clip-vitl14"], Preprocess(224, "bicubic", "crop", True, *OPENAI_CLIP)
    ),
    "clip-vitl14-336/336/bicubic-8bit-square/l2@1": Card(
        "ViT-L-14-336-quickgelu", ASSETS["clip-vitl14-336"], Preprocess(336, "bicubic", "square", True, *OPENAI_CLIP)
    ),
}


def build_open_clip(architecture: str, state: Mapping[str, Tensor], where: str) -> Any:
    """An open_clip CLIP of that architecture with exactly these tensors, frozen, in eval mode.

    Raises:
        UserError: the checkpoint does not fit.
    """
    import open_clip

    config = dict(open_clip.get_model_config(architecture))
    with torch.device("meta"):
        model = open_clip.model.CLIP(**config)
    load_strict(model, state, where, ignored=("position_ids",))
    # The causal mask is no part of a checkpoint, so it is still without content.
    length = config["text_cfg"]["context_length"]
    model.attn_mask = torch.full((length, length), float("-inf")).triu_(1)
    return model.float().requires_grad_(False).eval()


def untrained_open_clip(architecture: str) -> Any:
    """An open_clip CLIP of that architecture with the weights its library starts it with."""
    import open_clip

    return open_clip.model.CLIP(**open_clip.get_model_config(architecture))


def imagenet_names() -> tuple[str, ...]:
    """The 1,000 curated ImageNet class names that CLIP's zero-shot evaluation uses, as open_clip ships them."""
    import open_clip

    return tuple(open_clip.IMAGENET_CLASSNAMES)


def tokenize(prompts: Sequence[str]) -> Tensor:
    """CLIP's byte-pair tokens (P, 77) int64 of prompts; the vocabulary comes with open_clip."""
    import open_clip

    tokens: Tensor = open_clip.SimpleTokenizer()(list(prompts))
    return tokens


class _Projected(nn.Module):
    """transformers' vision tower with its projection, called like open_clip's."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        embeddings: Tensor = self.network(pixel_values=x).image_embeds
        return embeddings


def _hf_vision(state: Mapping[str, Tensor], where: str) -> nn.Module:
    """A vision tower under transformers' names, its shape read off its tensors."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    patches = state["vision_model.embeddings.patch_embedding.weight"]
    places = state["vision_model.embeddings.position_embedding.weight"].shape[0] - 1
    layers = {key.split(".")[3] for key in state if key.startswith("vision_model.encoder.layers.")}
    config = CLIPVisionConfig(
        hidden_size=patches.shape[0],
        intermediate_size=state["vision_model.encoder.layers.0.mlp.fc1.weight"].shape[0],
        num_hidden_layers=len(layers),
        num_attention_heads=patches.shape[0] // 64,
        patch_size=patches.shape[-1],
        image_size=patches.shape[-1] * round(places**0.5),
        projection_dim=state["visual_projection.weight"].shape[0],
        hidden_act="quick_gelu",
    )
    text_side = ("text_model.", "text_projection.", "logit_scale", "position_ids")
    return _Projected(load_transformers(CLIPVisionModelWithProjection, config, state, where, ignored=text_side))


class CLIP(FromCard, Encoder):
    """L2-normalised CLIP image embeddings; the 336-pixel preset is the space of CMMD."""

    kind = "clip"

    def __init__(
        self, preset: str = "clip-vitl14-336/336/bicubic-8bit-square/l2@1", weights: str | Path | None = None
    ) -> None:
        """Load and freeze the image side.

        Args:
            preset: a name of `PRESETS`.
            weights: a local file under open_clip's or transformers' names, or its folder.

        Raises:
            UserError: unknown preset, or a checkpoint of another network. MissingPrerequisite: no weights.
        """
        super().__init__()
        card: Card = pick(PRESETS, preset, self.kind)
        self.settings = {"preset": preset, "weights": None if weights is None else str(weights)}
        self.preprocess, self.architecture = card.preprocess, card.architecture
        path = locate(card.source, weights)
        state = read_state(path)
        if "visual_projection.weight" in state:
            self.visual = _hf_vision(state, str(path))
            self.dim = state["visual_projection.weight"].shape[0]
        else:
            self.visual = build_open_clip(card.architecture, state, str(path)).visual
            self.dim = int(cast(Any, self.visual).output_dim)
        self.signature = f"{preset}:{weights_hash(path)[:12]}"
        self.freeze()

    def forward(self, images: Tensor) -> Tensor:
        return F.normalize(self.visual(self.preprocess(images)), dim=-1)

    def draw_weights(self) -> None:
        if isinstance(self.visual, _Projected):
            self.visual = _Projected(untrained_transformers(self.visual.network))
        else:
            self.visual = untrained_open_clip(self.architecture).visual.float()
