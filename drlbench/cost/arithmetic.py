"""Floating-point operations of everything a run does with large networks, counted, not measured.

A multiplication with its addition is two operations. The functions agree with PyTorch's own counter on the networks
within 3 % (tests/cost/test_arithmetic.py); constants are that counter's results. Nothing here imports torch.

Shapes: N tokens, D width, K steps of an SDE.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from drlbench.backbones.sizes import SIZES, size_key

TERA = 1e12
PEAK_TFLOPS = 790.0
"""bf16 matrix products on one H200, TFLOP/s, as the paper's arithmetic takes it."""

PAPER_HOURS = {"sit": 190.0, "repa": 190.0, "jit": 500.0, "rae": 420.0}
"""H200-hours that the paper reports for one lambda (3,000 updates), by family."""

DECODER_TFLOP = {"sd-vae": 0.622, "rae": 0.222}
"""One 256-pixel image; four times that at 512."""

ENCODER_TFLOP = {
    "inception-v3": 0.0114,
    "inception-v3-trunk": 0.0114,
    "dinov2-vitb14": 0.046,
    "dinov2-vitl14": 0.162,
    "dinov3-vits16": 0.009,
    "dinov3-vitb16": 0.036,
    "dinov3-vitl16": 0.126,
    "siglip-vitb16": 0.047,
    "siglip-vitl16": 0.163,
    "siglip-so400m14": 0.670,
    "clip-vitb32": 0.009,
    "clip-vitl14": 0.162,
    "clip-vitl14-336": 0.382,
    "imagereward": 0.130,
    "pickscore": 0.335,
    "hpsv2": 0.335,
    "hpsv2.1": 0.335,
}
"""One image through the image side of a network of `drlbench.weights.catalogue`; ImageReward with its text side."""

VJP, TRAINED = 2, 3
"""A forward with the product for its input, and with the gradient of its weights, in forwards."""

SECOND_PASS = 0.03
"""Share of the trained rows that the outlier mask runs again: a batch's threshold is not known before its end."""

DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "sit": {"input_size": 32, "patch_size": 2, "in_channels": 4, "hidden_size": 1152, "depth": 28, "mlp_ratio": 4.0},
    "jit": {"input_size": 256, "patch_size": 16, "in_channels": 3, "hidden_size": 1024, "depth": 24, "mlp_ratio": 4.0,
            "in_context_len": 32, "in_context_start": 8},
    "rae": {"input_size": 16, "in_channels": 768, "hidden_size": (1152, 2048), "depth": (28, 2), "mlp_ratio": 4.0},
}  # fmt: skip


def architecture_of(name: str, given: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Family and constructor arguments of an official size or a bare family; REPA counts as SiT (no projectors)."""
    family, size = SIZES.get(size_key(name), (name, {}))
    family = "sit" if family == "repa" else family
    return family, {**DEFAULTS.get(family, {}), **size, **given}


def latent_values(name: str, given: Mapping[str, Any]) -> int:
    """Numbers in one latent."""
    _, a = architecture_of(name, given)
    return int(a["in_channels"]) * int(a["input_size"]) ** 2


def forward_tflop(name: str, given: Mapping[str, Any]) -> float:
    """One evaluation of one sample, TFLOP; 0 for a family that is not known here."""
    family, a = architecture_of(name, given)
    if family == "sit":
        tokens = (a["input_size"] // a["patch_size"]) ** 2
        return a["depth"] * _block(tokens, a["hidden_size"], 2 * a["mlp_ratio"]) / TERA
    if family == "jit":
        tokens = (a["input_size"] // a["patch_size"]) ** 2
        d, start, more = a["hidden_size"], min(a["in_context_start"], a["depth"]), a["in_context_len"]
        hidden = 3 * int(int(d * a["mlp_ratio"]) * 2 / 3) / d
        flops = start * _block(tokens, d, hidden) + (a["depth"] - start) * _block(tokens + more, d, hidden)
        return flops / TERA
    if family == "rae":
        tokens = a["input_size"] ** 2
        flops = 0.0
        for part, (width, depth) in enumerate(zip(a["hidden_size"], a["depth"], strict=True)):
            hidden = 3 * int(2 / 3 * int(width * a["mlp_ratio"])) / width
            # The head is modulated token by token, and so is the final layer.
            modulated = tokens if part else 1
            flops += depth * _block(tokens, width, hidden, modulated) + part * 2 * tokens * 2 * width**2
        return flops / TERA
    return 0.0


def _block(tokens: int, width: int, mlp: float, modulated: int = 1) -> float:
    """Attention, feed-forward of `mlp` D x D matrices, and six modulations made for `modulated` conditions."""
    linear = 2 * tokens * (4 + mlp) * width**2
    return linear + 4 * tokens**2 * width + 2 * modulated * 6 * width**2


def trajectories(updates: int, settings: Mapping[str, Any]) -> float:
    """Rollouts that adjoint matching draws for so many updates."""
    return updates * float(settings.get("batch", 576)) / int(settings.get("passes", 5))


def trajectory_tflop(forward: float, through_reward: float, settings: Mapping[str, Any]) -> float:
    """One trajectory of adjoint matching, with its share of the updates.

    K forwards of the policy, K products through the frozen base, and `passes` regressions on a fraction of the steps.
    `through_reward` is decoder and reward, TFLOP of a forward.
    """
    steps, passes = int(settings.get("steps", 100)), int(settings.get("passes", 5))
    chosen = math.ceil(float(settings.get("timestep_fraction", 0.4)) * steps)
    return forward * (steps * (1 + VJP) + passes * chosen * TRAINED) + VJP * through_reward


def sampling_tflop(
    forward: float, decoder: float, evaluations: int, cfg: float = 1.0, low: float = 0.0, high: float = 1.0
) -> float:
    """One sample in so many evaluations of the network; inside the guidance interval each is of two labels."""
    guided = 0.0 if cfg == 1 else high - low
    return forward * evaluations * (1 + guided) + decoder
