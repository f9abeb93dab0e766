"""PickScore v1 (Kirstain et al. 2023): CLIP-H fine-tuned on people's choices between two images.

score = exp(logit_scale) · cos(image, prompt), about 20 to 22. Loaded as transformers' CLIPModel; the embeddings are
read from its parts, because the helper methods return another type in transformers 5 than in 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from drlbench.encoders.clip import tokenize
from drlbench.encoders.preprocess import OPENAI_CLIP, Preprocess
from drlbench.encoders.pretrained import load_transformers
from drlbench.encoders.weights import locate, read_state, weights_hash
from drlbench.rewards.contrastive import ContrastiveReward
from drlbench.rewards.prompts import TEMPLATE, class_prompts
from drlbench.weights.catalogue import ASSETS

SOURCE = ASSETS["pickscore"]
PREPROCESS = Preprocess(224, "bicubic", "crop", True, *OPENAI_CLIP)
VISION = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 16,
          "patch_size": 14, "image_size": 224, "hidden_act": "gelu"}  # fmt: skip
TEXT = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
        "hidden_act": "gelu"}  # fmt: skip
WIDTH = 1024


def network() -> tuple[type[Any], Any]:
    """The transformers class and the configuration of CLIP ViT-H/14."""
    from transformers import CLIPConfig, CLIPModel

    return CLIPModel, CLIPConfig(projection_dim=WIDTH, vision_config=VISION, text_config=TEXT)


class _ImageSide(nn.Module):
    def __init__(self, tower: Any, projection: nn.Module) -> None:
        super().__init__()
        self.tower, self.projection = tower, projection

    def forward(self, x: Tensor) -> Tensor:
        embeddings: Tensor = self.projection(self.tower(pixel_values=x).pooler_output)
        return embeddings


class PickScore(ContrastiveReward):
    """PickScore of an image for its class prompt."""

    kind = name = "pickscore"

    def __init__(
        self,
        class_names: Sequence[str] | str = "imagenet",
        template: str = TEMPLATE,
        weights: str | Path | None = None,
    ) -> None:
        """Load, embed the prompts and freeze.

        Args:
            class_names: in label order, or "imagenet".
            template: prompt with `{class}` in it.
            weights: a local safetensors file or its folder; by default the Hub's cache, then the Hub.

        Raises:
            UserError: the checkpoint does not fit. MissingPrerequisite: no weights.
        """
        super().__init__()
        prompts = class_prompts(class_names, template)
        self.class_names = prompts.class_names
        self.settings = {
            "class_names": class_names if isinstance(class_names, str) else list(class_names),
            "template": template,
            "weights": None if weights is None else str(weights),
        }
        path = locate(SOURCE, weights)
        model: Any = load_transformers(*network(), read_state(path), str(path), ignored=("position_ids",))
        self.prepare(
            _ImageSide(model.vision_model, model.visual_projection),
            PREPROCESS,
            float(model.logit_scale.detach().exp()),
            lambda tokens: model.text_projection(model.text_model(input_ids=tokens).pooler_output),
            tokenize(prompts.texts),
        )
        self.signature = f"pickscore-v1:{weights_hash(path)[:12]}/{PREPROCESS.signature}/{prompts.signature}"
