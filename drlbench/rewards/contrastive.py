"""Rewards that are a cosine between an image and its class prompt: PickScore, HPSv2 and CLIPScore share this.

Prompts are embedded once, when the reward is built; the text side is then dropped, which frees a third of the memory.

Shapes: B batch, C channels, H and W image height and width, K classes, D embedding dimension.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from drlbench.encoders.preprocess import Preprocess
from drlbench.encoders.pretrained import FromCard
from drlbench.errors import UserError
from drlbench.rewards.base import Reward
from drlbench.weights.skeleton import skeleton

TEXT_BATCH = 64


class ContrastiveReward(FromCard, Reward):
    """scale × cos(image, prompt of the class). Subclasses load the network and call `prepare`."""

    named_by_suite = False
    text: Tensor  # (K, D) float32, L2-normalised
    visual: nn.Module
    preprocess: Preprocess
    scale: float

    def prepare(
        self,
        visual: nn.Module,
        preprocess: Preprocess,
        scale: float,
        embed_text: Callable[[Tensor], Tensor],
        tokens: Tensor,
    ) -> None:
        """Embed the prompts' tokens (K, T) and keep the image side only."""
        if skeleton():
            tokens = tokens[:2]
        with torch.no_grad():
            parts = [embed_text(tokens[i : i + TEXT_BATCH]) for i in range(0, len(tokens), TEXT_BATCH)]
        self.register_buffer("text", F.normalize(torch.cat(parts).float(), dim=-1))
        self.visual, self.preprocess, self.scale = visual, preprocess, scale
        self.requires_grad_(False)
        self.eval()

    def forward(self, images: Tensor, y: Tensor) -> Tensor:
        prompts = self.text[check_labels(y, len(self.text), self.name)]
        embeddings = F.normalize(self.visual(self.preprocess(images)), dim=-1)
        return self.scale * (embeddings * prompts).sum(-1)


def check_labels(y: Tensor, classes: int, name: str) -> Tensor:
    """The labels, if every one has a prompt.

    Raises:
        UserError: a label is outside 0..K−1 (such as the null class of guidance).
    """
    if y.numel() and not (int(y.min()) >= 0 and int(y.max()) < classes):
        raise UserError(f"{name}: labels {int(y.min())}..{int(y.max())}, but prompts exist for 0..{classes - 1}")
    return y
