"""Aesthetic predictors: small linear heads on a normalised image embedding; no prompt is read.

laion-aesthetic   LAION's v2 head on OpenAI's CLIP ViT-L/14 (768), about 1 to 10
aesthetic-v2.5    aesthetic-predictor-v2-5's head on SigLIP so400m at 384 pixels (1152), about 1 to 10, high above 5.5

Shapes: B batch, C channels, H and W image height and width, D embedding dimension.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from drlbench.encoders.base import Encoder
from drlbench.encoders.clip import CLIP
from drlbench.encoders.pretrained import FromCard
from drlbench.encoders.siglip import SigLIP
from drlbench.encoders.weights import load_strict, locate, read_state, weights_hash
from drlbench.errors import UserError
from drlbench.rewards.base import Reward
from drlbench.weights.asset import Asset
from drlbench.weights.catalogue import ASSETS
from drlbench.weights.skeleton import skeleton

WIDTHS = (1024, 128, 64, 16, 1)
# Places of the linear layers inside the published nn.Sequential; what lies between is dropout, or ReLU and dropout.
LAYOUTS = {"linear": (0, 2, 4, 6, 7), "relu": (0, 3, 6, 9, 11), "v2.5": (0, 2, 4, 6, 8)}


def build_head(state: Mapping[str, Tensor], where: str, width: int = 0) -> nn.Sequential:
    """The head that a checkpoint holds, its layout and width read off the checkpoint.

    Without weights it is the published layout on an embedding of `width`.

    Raises:
        UserError: none of the known layouts.
    """
    if skeleton():
        state = {f"{place}.weight": torch.empty(1, width) for place in LAYOUTS["linear"]}
    plain = {key.removeprefix("layers.").removeprefix("scoring_head."): value for key, value in state.items()}
    places = tuple(sorted({int(key.split(".")[0]) for key in plain if key.split(".")[0].isdigit()}))
    layout = next((name for name, known in LAYOUTS.items() if known == places), None)
    if layout is None:
        raise UserError(f"{where}: linear layers at {places}; no known aesthetic head")
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    width = plain["0.weight"].shape[1]
    for place, out in zip(places, WIDTHS, strict=True):
        layers[str(place)] = nn.Linear(width, out)
        width = out
        if layout == "relu" and out != 1:
            layers[str(place + 1)] = nn.ReLU()
    head = nn.Sequential(layers)
    load_strict(head, plain, where)
    return head


class AestheticReward(FromCard, Reward):
    """Head on the L2-normalised embedding of an encoder; labels are not looked at."""

    needs_labels = False
    named_by_suite = False
    source: ClassVar[Asset]

    def __init__(self, encoder: Encoder, head: str | Path | None) -> None:
        super().__init__()
        path = locate(self.source, head)
        self.encoder = encoder
        self.head = build_head(read_state(path), str(path), encoder.dim).float()
        if self.head[0].in_features != encoder.dim:
            raise UserError(
                f"{path}: a head for {self.head[0].in_features} dimensions; {encoder.signature} has {encoder.dim}"
            )
        self.signature = f"{self.kind}:{weights_hash(path)[:12]}/{encoder.signature}"
        self.requires_grad_(False)
        self.eval()

    def forward(self, images: Tensor, y: Tensor) -> Tensor:
        score: Tensor = self.head(F.normalize(self.encoder(images), dim=-1)).squeeze(-1)
        return score


class LAIONAesthetic(AestheticReward):
    """LAION's aesthetic predictor v2 (sac+logos+ava1-l14-linearMSE)."""

    kind = name = "laion-aesthetic"
    source = ASSETS["laion-aesthetic"]

    def __init__(self, weights: str | Path | None = None, head: str | Path | None = None) -> None:
        """weights: of CLIP ViT-L/14; head: of the predictor; by default from the cache or their published places."""
        encoder = CLIP("clip-vitl14/224/bicubic-8bit/l2@1", weights)
        self.settings = {
            "weights": None if weights is None else str(weights),
            "head": None if head is None else str(head),
        }
        super().__init__(encoder, head)


class AestheticV25(AestheticReward):
    """aesthetic-predictor-v2-5."""

    kind = name = "aesthetic-v2.5"
    source = ASSETS["aesthetic-v2.5"]

    def __init__(self, weights: str | Path | None = None, head: str | Path | None = None) -> None:
        """weights: of SigLIP so400m-patch14-384; head: of the predictor."""
        encoder = SigLIP("siglip-so400m14/384/bicubic-8bit/map@1", weights)
        self.settings = {
            "weights": None if weights is None else str(weights),
            "head": None if head is None else str(head),
        }
        super().__init__(encoder, head)
