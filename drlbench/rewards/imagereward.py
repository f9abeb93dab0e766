"""ImageReward v1.0 (Xu et al. 2023): BLIP reads the prompt while looking at the image, a linear head scores it.

score = (mlp(h) − 0.16717…) / 1.03334…, h = last hidden state of the text encoder's first token. The published
package does not import with current libraries; its flat checkpoint fits transformers' own BLIP classes after renaming
keys, with identical scores (docs/precision.md).

Shapes: B batch, C channels, H and W image height and width, K classes, T prompt tokens, P image tokens, D hidden size.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from drlbench.encoders.preprocess import OPENAI_CLIP, Preprocess
from drlbench.encoders.pretrained import FromCard, load_transformers
from drlbench.encoders.weights import load_strict, locate, read_state, weights_hash
from drlbench.rewards.aesthetic import build_head
from drlbench.rewards.base import Reward
from drlbench.rewards.contrastive import check_labels
from drlbench.rewards.prompts import TEMPLATE, class_prompts
from drlbench.weights.catalogue import ASSETS
from drlbench.weights.skeleton import skeleton

SOURCE = ASSETS["imagereward"]
VOCABULARY = ASSETS["bert-vocabulary"]
PREPROCESS = Preprocess(224, "bicubic", "crop", True, *OPENAI_CLIP)
MEAN, STD = 0.16717362830052426, 1.0333394966054072
MAX_TOKENS = 35
USUAL_TOKENS = 9  # of "a photo of a {class}"
UNUSED = ("blip.vision_proj.", "blip.text_proj.")  # BLIP's contrastive projections, which the score never passes

VISION = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
          "image_size": 224, "patch_size": 16, "layer_norm_eps": 1e-6}  # fmt: skip
TEXT = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
        "vocab_size": 30524, "max_position_embeddings": 512, "encoder_hidden_size": 1024}  # fmt: skip

_VISION_NAMES = (
    (r"^cls_token$", "embeddings.class_embedding"),
    (r"^pos_embed$", "embeddings.position_embedding"),
    (r"^patch_embed\.proj\.", "embeddings.patch_embedding."),
    (r"^norm\.", "post_layernorm."),
    (r"^blocks\.", "encoder.layers."),
    (r"\.attn\.qkv\.", ".self_attn.qkv."),
    (r"\.attn\.proj\.", ".self_attn.projection."),
    (r"\.norm(\d)\.", r".layer_norm\1."),
)


def rename_vision(key: str) -> str:
    """BLIP's name of an image-side tensor as transformers calls it."""
    for pattern, replacement in _VISION_NAMES:
        key = re.sub(pattern, replacement, key)
    return key


class Network(nn.Module):
    """Image encoder, text encoder with cross-attention, and head."""

    def __init__(self, state: Mapping[str, Tensor], where: str, vision: Any = None, text: Any = None) -> None:
        """Build from a checkpoint; `vision` and `text` override the published sizes.

        Raises:
            UserError: the checkpoint does not fit.
        """
        super().__init__()
        from transformers import BlipTextConfig, BlipVisionConfig
        from transformers.models.blip.modeling_blip import BlipVisionModel
        from transformers.models.blip.modeling_blip_text import BlipTextModel

        parts = {
            prefix: {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
            for prefix in ("blip.visual_encoder.", "blip.text_encoder.", "mlp.")
        }
        known = (*parts, *UNUSED)
        leftover = {k: v for k, v in state.items() if not k.startswith(known)}
        load_strict(nn.Module(), leftover, where)  # says so if there is any
        images = {rename_vision(k): v for k, v in parts["blip.visual_encoder."].items()}
        self.vision = load_transformers(BlipVisionModel, BlipVisionConfig(**(vision or VISION)), images, where)
        words = {k: v for k, v in parts["blip.text_encoder."].items() if not k.endswith("position_ids")}
        config = BlipTextConfig(**(text or TEXT))
        self.text = load_transformers(BlipTextModel, config, words, where, add_pooling_layer=False)
        self.head = build_head(parts["mlp."], where, config.hidden_size)

    def forward(self, pixels: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        """Scores (B,) of normalised images (B, 3, H, W) with prompts (B, T) and their mask (B, T)."""
        seen = self.vision(pixel_values=pixels).last_hidden_state  # (B, P, D)
        read = self.text(
            input_ids=tokens,
            attention_mask=mask,
            encoder_hidden_states=seen,
            encoder_attention_mask=torch.ones(seen.shape[:2], dtype=torch.long, device=seen.device),
        )
        score: Tensor = self.head(read.last_hidden_state[:, 0]).squeeze(-1)
        return (score - MEAN) / STD


def tokenize(prompts: Sequence[str], vocabulary: Path) -> tuple[Tensor, Tensor]:
    """BERT word pieces and mask, each (K, T) int64, cut at 35 and padded to the longest prompt.

    The published code pads to 35; padding is masked out, so the score is the same and shorter prompts are faster.
    """
    if skeleton():
        tokens = torch.zeros(len(prompts), USUAL_TOKENS, dtype=torch.int64)
        return tokens, tokens
    from tokenizers import BertWordPieceTokenizer

    tokenizer = BertWordPieceTokenizer(str(vocabulary), lowercase=True)
    tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.enable_padding()
    found = tokenizer.encode_batch(list(prompts))
    return torch.tensor([e.ids for e in found]), torch.tensor([e.attention_mask for e in found])


class ImageReward(FromCard, Reward):
    """ImageReward of an image for its class prompt."""

    kind = name = "imagereward"
    named_by_suite = False
    tokens: Tensor  # (K, T)
    mask: Tensor  # (K, T)

    def __init__(
        self,
        class_names: Sequence[str] | str = "imagenet",
        template: str = TEMPLATE,
        weights: str | Path | None = None,
        vocabulary: str | Path | None = None,
    ) -> None:
        """Load, read the prompts and freeze.

        Args:
            class_names: in label order, or "imagenet".
            template: prompt with `{class}` in it.
            weights: a local ImageReward.pt or its folder.
            vocabulary: a local vocab.txt of bert-base-uncased or its folder.

        Raises:
            UserError: the checkpoint does not fit. MissingPrerequisite: no weights or vocabulary.
        """
        super().__init__()
        prompts = class_prompts(class_names, template)
        self.class_names = prompts.class_names
        self.settings = {
            "class_names": class_names if isinstance(class_names, str) else list(class_names),
            "template": template,
            "weights": None if weights is None else str(weights),
            "vocabulary": None if vocabulary is None else str(vocabulary),
        }
        path = locate(SOURCE, weights)
        tokens, mask = tokenize(prompts.texts, locate(VOCABULARY, vocabulary))
        self.register_buffer("tokens", tokens)
        self.register_buffer("mask", mask)
        self.network = Network(read_state(path), str(path))
        self.signature = f"imagereward-v1.0:{weights_hash(path)[:12]}/{PREPROCESS.signature}/{prompts.signature}"
        self.requires_grad_(False)
        self.eval()

    def forward(self, images: Tensor, y: Tensor) -> Tensor:
        y = check_labels(y, len(self.tokens), self.name)
        score: Tensor = self.network(PREPROCESS(images), self.tokens[y], self.mask[y])
        return score
