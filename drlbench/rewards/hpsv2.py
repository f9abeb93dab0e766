"""HPSv2 and HPSv2.1 (Wu et al. 2023): CLIP ViT-H/14 fine-tuned on human preferences.

score = cos(image, prompt) without a logit scale, about 0.2 to 0.3. Images are resized on tensors (antialiased bicubic,
not clamped) so that the longer side is 224, and padded with black before they are normalised. Scores of the two
versions are not comparable.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from drlbench.encoders.clip import build_open_clip, tokenize
from drlbench.encoders.preprocess import OPENAI_CLIP, Preprocess
from drlbench.encoders.pretrained import pick
from drlbench.encoders.weights import locate, read_state, weights_hash
from drlbench.rewards.contrastive import ContrastiveReward
from drlbench.rewards.prompts import TEMPLATE, class_prompts
from drlbench.weights.asset import Asset
from drlbench.weights.catalogue import ASSETS

SOURCES = {
    "2.0": ASSETS["hpsv2"],
    "2.1": ASSETS["hpsv2.1"],
}
ARCHITECTURE = "ViT-H-14"
PREPROCESS = Preprocess(224, "bicubic", "pad", False, *OPENAI_CLIP)


class HPSv2(ContrastiveReward):
    """HPSv2 of an image for its class prompt."""

    kind = name = "hpsv2"

    def __init__(
        self,
        version: str = "2.0",
        class_names: Sequence[str] | str = "imagenet",
        template: str = TEMPLATE,
        weights: str | Path | None = None,
    ) -> None:
        """Load, embed the prompts and freeze; arguments and errors as for `PickScore`. version: "2.0" or "2.1"."""
        super().__init__()
        source: Asset = pick(SOURCES, version, "HPSv2 version")
        prompts = class_prompts(class_names, template)
        self.class_names = prompts.class_names
        self.settings = {
            "version": version,
            "class_names": class_names if isinstance(class_names, str) else list(class_names),
            "template": template,
            "weights": None if weights is None else str(weights),
        }
        path = locate(source, weights)
        model = build_open_clip(ARCHITECTURE, read_state(path), str(path))
        self.prepare(model.visual, PREPROCESS, 1.0, model.encode_text, tokenize(prompts.texts))
        self.signature = f"hpsv{version}:{weights_hash(path)[:12]}/{PREPROCESS.signature}/{prompts.signature}"


class HPSv21(HPSv2):
    """HPSv2.1 of an image for its class prompt."""

    kind = name = "hpsv2.1"

    def __init__(
        self,
        version: str = "2.1",
        class_names: Sequence[str] | str = "imagenet",
        template: str = TEMPLATE,
        weights: str | Path | None = None,
    ) -> None:
        super().__init__(version, class_names, template, weights)
