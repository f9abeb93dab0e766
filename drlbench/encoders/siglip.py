"""SigLIP vision towers (Zhai et al. 2023) through transformers; the feature is the attention-pooled embedding.

Images are squashed to the network's size with Pillow's 8-bit bicubic filter and scaled to [−1, 1], as SigLIP's own
image processor does. Presets end in a version; a changed definition gets a new one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from drlbench.encoders.base import Encoder
from drlbench.encoders.preprocess import HALF, Preprocess
from drlbench.encoders.pretrained import FromCard, load_transformers, pick, untrained_transformers
from drlbench.encoders.weights import locate, read_state, weights_hash
from drlbench.weights.asset import Asset
from drlbench.weights.catalogue import ASSETS


@dataclass(frozen=True)
class Tower:
    """One published vision tower."""

    source: Asset
    size: int
    patch: int
    width: int
    hidden: int
    depth: int
    heads: int

    def config(self, attention: str) -> Any:
        """Its transformers configuration."""
        from transformers import SiglipVisionConfig

        shape: dict[str, Any] = {
            "hidden_size": self.width,
            "intermediate_size": self.hidden,
            "num_hidden_layers": self.depth,
            "num_attention_heads": self.heads,
            "image_size": self.size,
            "patch_size": self.patch,
            "attn_implementation": attention,
        }
        return SiglipVisionConfig(**shape)


PRESETS = {
    "siglip-vitb16/256/bicubic-8bit/map@1": Tower(ASSETS["siglip-vitb16"], 256, 16, 768, 3072, 12, 12),
    "siglip-vitl16/256/bicubic-8bit/map@1": Tower(ASSETS["siglip-vitl16"], 256, 16, 1024, 4096, 24, 16),
    "siglip-so400m14/384/bicubic-8bit/map@1": Tower(ASSETS["siglip-so400m14"], 384, 14, 1152, 4304, 27, 16),
}


class SigLIP(FromCard, Encoder):
    """The pooled image embedding of a SigLIP tower, not normalised."""

    kind = "siglip"

    def __init__(
        self,
        preset: str = "siglip-vitl16/256/bicubic-8bit/map@1",
        weights: str | Path | None = None,
        attention: str = "sdpa",
    ) -> None:
        """Load and freeze; arguments and errors as for `DINO`. A file with the text tower may be given too."""
        super().__init__()
        from transformers import SiglipVisionModel

        tower: Tower = pick(PRESETS, preset, self.kind)
        self.settings = {"preset": preset, "weights": None if weights is None else str(weights), "attention": attention}
        self.preprocess = Preprocess(tower.size, "bicubic", "squash", True, *HALF)
        path = locate(tower.source, weights)
        text_side = ("text_model.", "logit_scale", "logit_bias", "position_ids")
        self.network = load_transformers(
            SiglipVisionModel, tower.config(attention), read_state(path), str(path), ignored=text_side
        )
        self.dim = tower.width
        self.signature = f"{preset}:{weights_hash(path)[:12]}"
        self.freeze()

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.network(self.preprocess(images)).pooler_output
        return features

    def draw_weights(self) -> None:
        self.network = untrained_transformers(self.network)
