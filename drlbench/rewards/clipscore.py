"""CLIPScore (Hessel et al. 2021): cosine between image and caption in OpenAI's CLIP.

Conventions: "torchmetrics" is 100 · cos in ViT-L/14, per image and not clipped; "hessel" is 2.5 · max(cos, 0) in
ViT-B/32 with the prompt prefix "A photo depicts ".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from drlbench.encoders.clip import PRESETS, Card, build_open_clip, tokenize
from drlbench.encoders.pretrained import pick
from drlbench.encoders.weights import locate, read_state, weights_hash
from drlbench.rewards.contrastive import ContrastiveReward
from drlbench.rewards.prompts import TEMPLATE, class_prompts


@dataclass(frozen=True)
class Convention:
    """Which network, how a prompt begins, and what is done with the cosine."""

    clip: str
    prefix: str
    scale: float
    clipped: bool


CONVENTIONS = {
    "torchmetrics": Convention("clip-vitl14/224/bicubic-8bit/l2@1", "", 100.0, False),
    "hessel": Convention("clip-vitb32/224/bicubic-8bit/l2@1", "A photo depicts ", 2.5, True),
}


class CLIPScore(ContrastiveReward):
    """CLIPScore of an image for its class prompt."""

    kind = name = "clipscore"

    def __init__(
        self,
        convention: str = "torchmetrics",
        class_names: Sequence[str] | str = "imagenet",
        template: str = TEMPLATE,
        weights: str | Path | None = None,
    ) -> None:
        """Load, embed the prompts and freeze; arguments and errors as for `PickScore`."""
        super().__init__()
        rule: Convention = pick(CONVENTIONS, convention, "CLIPScore convention")
        card: Card = PRESETS[rule.clip]
        prompts = class_prompts(class_names, rule.prefix + template)
        self.class_names = prompts.class_names
        self.settings = {
            "convention": convention,
            "class_names": class_names if isinstance(class_names, str) else list(class_names),
            "template": template,
            "weights": None if weights is None else str(weights),
        }
        path = locate(card.source, weights)
        model = build_open_clip(card.architecture, read_state(path), str(path))
        self.prepare(model.visual, card.preprocess, rule.scale, model.encode_text, tokenize(prompts.texts))
        self.clipped = rule.clipped
        self.signature = f"clipscore-{convention}:{weights_hash(path)[:12]}/{rule.clip}/{prompts.signature}"

    def forward(self, images: Tensor, y: Tensor) -> Tensor:
        scores = super().forward(images, y)
        return scores.clamp(min=0.0) if self.clipped else scores
