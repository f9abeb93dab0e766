"""What JiT's authors published: sizes (patch 32 means 512 pixels), checkpoints with their numbers, paper's settings.

JiT's velocity is clamped beyond t = 0.95 (its division by max(1 - t, 0.05)): algorithms that regress on noised
endpoints stop there, and flow matching draws times as JiT's own training does, t = sigmoid(0.8 n - 0.8). The paper does
not say whether its own runs did anything about the clamp; adjoint matching needs nothing, because its target comes from
the clamped network.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from drlbench.backbones.cards import FLOAT32, Card, Published
from drlbench.backbones.protocols import JIT_REFERENCE, Protocol
from drlbench.backbones.sit.published import RECIPE as SIT_RECIPE
from drlbench.weights.asset import Asset

JITS = {  # depth, hidden_size, num_heads, bottleneck_dim, in_context_start
    "b": (12, 768, 12, 128, 4),
    "l": (24, 1024, 16, 128, 8),
    "h": (32, 1280, 16, 256, 10),
}


def _arguments(size: str, patch: int) -> dict[str, Any]:
    depth, hidden, heads, bottleneck, start = JITS[size]
    return {
        "input_size": 16 * patch,
        "patch_size": patch,
        "in_channels": 3,
        "hidden_size": hidden,
        "depth": depth,
        "num_heads": heads,
        "bottleneck_dim": bottleneck,
        "in_context_len": 32,
        "in_context_start": start,
    }


SIZES = {f"jit-{size}-{patch}": _arguments(size, patch) for size in JITS for patch in (16, 32)}
FOLDER = (
    "https://www.dropbox.com/scl/fo/3ken1avtsd81ip67b9qpi/AK218ZNvXKSv74igVvht4PQ?rlkey=14gjrblmljewpl6ygxzlr3njm&dl=0"
)
PROTOCOL = "50,000 samples (50 a class), Heun 50, guidance in (0.1, 1), torch-fidelity against ImageNet train"


def _card(name: str, parameters: int, cfg: float, fid: float, source: str) -> Card:
    # Three copies: the raw weights and two averages, of which the evaluation always takes the first.
    asset = Asset(
        name,
        f"{name}/checkpoint-last.pth",
        page=FOLDER,
        size=3 * parameters * FLOAT32,
        licence="MIT (of the code; the weights state none)",
    )
    # Of the 512-pixel models (patch 32) no statistics file is known here.
    how = Protocol("heun", 50, cfg, low=0.1, reference=JIT_REFERENCE) if name.endswith("-16") else None
    published = (Published("fid", fid, f"{PROTOCOL}, scale {cfg:g}", source, how),)
    return Card(name, name, asset, "pixels", "training checkpoint", "model_ema1", published)


CARDS: tuple[Card, ...] = (
    _card("jit-b-16", 131_320_320, 3.0, 3.66, "arXiv 2511.13720, from memory"),
    _card("jit-b-32", 133_387_008, 3.0, 4.02, "LTH14/JiT issue 41"),
    _card("jit-l-16", 459_139_808, 2.4, 2.36, "arXiv 2511.13720, from memory"),
    _card("jit-l-32", 461_796_320, 2.5, 2.53, "arXiv 2511.13720, from memory"),
    _card("jit-h-16", 952_842_048, 2.2, 1.86, "arXiv 2511.13720"),
    _card("jit-h-32", 956_383_296, 2.3, 1.94, "arXiv 2511.13720, from memory"),
)
_TIMES = {"time": "logit-normal", "time_mean": -0.8, "time_std": 0.8}
RECIPE: Mapping[str, Mapping[str, Any]] = {
    "adjoint-matching": {**SIT_RECIPE["adjoint-matching"], "buffer": 3072},
    **{kind: {"t_max": 0.95} for kind in ("ram", "awm", "nft", "rwm")},
    **{kind: _TIMES for kind in ("sft", "ddo")},
}
