"""Operations of the small networks that a run trains for itself: encoders, preference rewards, a discriminator's head.

A multiplication with its addition is two operations. `tests/cost/test_workload.py` holds them against torch's counter.
Nothing here imports torch.

Shapes: C channels, H and W height and width of an image, w width, D features.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Shape = tuple[int, int, int]
"""(C, H, W)"""


def _conv(inputs: int, outputs: int, kernel: int, height: int, width: int) -> float:
    return 2.0 * kernel**2 * inputs * outputs * height * width


def _linear(inputs: int, outputs: int) -> float:
    return 2.0 * inputs * outputs


def encoder_operations(kind: str, settings: Mapping[str, Any], shape: Shape) -> float | None:
    """One image through a frozen encoder; None for a kind that is not trained here."""
    c, h, w = shape
    half = -(-h // 2), -(-w // 2)
    if kind == "pixels":
        return _linear(c * h * w, settings["components"])
    if kind not in ("small-classifier", "small-contrastive", "small-dae"):
        return None
    width, kernel = settings["width"], settings.get("kernel", 3)
    flops = _conv(c, width, kernel, h, w) + _conv(width, 2 * width, kernel, *half)
    if kind != "small-dae":
        flops += _conv(2 * width, 2 * width, kernel, *half)
    return flops + _linear(2 * width * half[0] * half[1], settings["features"])


def encoder_training_rows(kind: str, settings: Mapping[str, Any], shape: Shape) -> tuple[float, float]:
    """Images that are passed in training, and the operations of a pass with what only training has."""
    one = encoder_operations(kind, settings, shape) or 0.0
    c, h, w = shape
    half = -(-h // 2), -(-w // 2)
    if kind == "pixels":
        return 0.0, 0.0
    rows, d = float(settings["steps"] * settings["batch"]), settings["features"]
    if kind == "small-contrastive":  # two views, and a projection
        return 2 * rows, one + _linear(d, d) + _linear(d, 32)
    if kind == "small-dae":
        width = settings["width"]
        up = _linear(d, 2 * width * half[0] * half[1]) + _conv(2 * width, width, 3, *half)
        return rows, one + up + _conv(width, c, 3, h, w)
    return rows, one


def preference_operations(settings: Mapping[str, Any], shape: Shape) -> float:
    """One image through a Bradley-Terry reward."""
    c, h, w = shape
    width = settings["width"]
    if settings["network"] == "mlp":
        return _linear(c * h * w, 4 * width) + _linear(4 * width, 1)
    half = -(-h // 2), -(-w // 2)
    convolutions = _conv(c, width, 3, h, w) + _conv(width, 2 * width, 3, *half)
    return convolutions + _linear(2 * width * half[0] * half[1], 4 * width) + _linear(4 * width, 1)


def head_operations(settings: Mapping[str, Any], features: int) -> float:
    """One row of features through a discriminator's heads."""
    width, blocks = settings["width"], 2 if settings["head"] == "mlp-2" else 0
    return float(settings["heads"] * (_linear(features, width) + blocks * _linear(width, width) + _linear(width, 1)))
