"""What happens to an image before a network sees it: resize, crop, normalise, all differentiable.

8-bit resizers (Pillow, and thereby most published scores) round to whole grey levels after each of their two passes.
That rounding is reproduced here with the gradient passed straight through, so that a reward and the published
metric look at the same pixels. Agreement with Pillow and torchvision is measured in docs/precision.md.

Shapes: B batch, C channels (1 is repeated to 3), H and W input height and width, S output size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
OPENAI_CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

Filter = Literal["bicubic", "bilinear"]


def to_rgb(images: Tensor) -> Tensor:
    """(B, 3, H, W) from one or three channels."""
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images


def quantise(levels: Tensor) -> Tensor:
    """Whole grey levels in 0..255; the gradient is that of a clamp, passed straight through the rounding.

    Beyond black and white it is zero, as the published scores' is: they cannot see how far out a pixel lies.
    """
    # Not clamp's own gradient, which is zero at the ends too: real images are full of exact black.
    inside = torch.where((levels >= 0) & (levels <= 255), levels, levels.detach().clamp(0.0, 255.0))
    with torch.no_grad():
        error = inside.round() - inside
    return inside + error


def _antialiased(images: Tensor, height: int, width: int, kind: Filter) -> Tensor:
    if images.shape[-2:] == (height, width):
        return images
    if images.device.type != "cpu" and images.requires_grad and torch.is_grad_enabled():
        resized: Tensor = RepeatableResize.apply(images, height, width, kind)
        return resized
    return _interpolated(images, height, width, kind)


def _interpolated(images: Tensor, height: int, width: int, kind: Filter) -> Tensor:
    return F.interpolate(images, size=(height, width), mode=kind, antialias=True, align_corners=False)


class RepeatableResize(torch.autograd.Function):
    """An antialiased resize whose gradient has the same bits on every run.

    CUDA's own gradient adds in whatever order its threads arrive. A resize is one matrix per side, out = R x C^T with R
    (height, H) and C (width, W), so the gradient is R^T g C.
    """

    @staticmethod
    def forward(ctx: Any, images: Tensor, height: int, width: int, kind: Filter) -> Tensor:
        """(B, C, height, width) from images (B, C, H, W)."""
        h, w = images.shape[-2:]
        rows = _interpolated(torch.eye(h, device=images.device)[None, None], height, h, kind)[0, 0]
        columns = _interpolated(torch.eye(w, device=images.device)[None, None], width, w, kind)[0, 0]
        ctx.save_for_backward(rows.to(images.dtype), columns.to(images.dtype))
        return _interpolated(images, height, width, kind)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        """Made of products, so that it can be differentiated again (an R1 penalty)."""
        rows, columns = ctx.saved_tensors
        return rows.T @ gradient @ columns, None, None, None


def resize_like_pillow(levels: Tensor, height: int, width: int, kind: Filter) -> Tensor:
    """Antialiased resize of grey levels 0..255, rounded after each pass.

    The pass with the smaller intermediate image goes first (horizontal when equal), as in Pillow 13.
    """
    h, w = levels.shape[-2:]
    middle = (h, width) if h * width <= height * w else (height, w)
    for step in (middle, (height, width)):
        if levels.shape[-2:] != step:
            levels = quantise(_antialiased(levels, *step, kind))
    return levels


def centre_crop(images: Tensor, height: int, width: int) -> Tensor:
    """The middle (height, width) of images at least that large; halves round to even, as in torchvision."""
    top = round((images.shape[-2] - height) / 2)
    left = round((images.shape[-1] - width) / 2)
    return images[..., top : top + height, left : left + width]


@dataclass(frozen=True)
class Preprocess:
    """One named way from pixels in [0, 1] to network input.

    Attributes:
        size: S.
        kind: interpolation filter; always antialiased.
        fit: "squash" both sides to S; "crop" resizes the shorter side to S and cuts the middle; "square" cuts the
            middle square first and resizes it; "pad" resizes the longer side to S and pads with black.
        eight_bit: round to grey levels at the input and after each resize pass (Pillow); otherwise plain float.
        mean, std: per channel, applied last (after the padding).
    """

    size: int
    kind: Filter
    fit: Literal["squash", "crop", "square", "pad"]
    eight_bit: bool
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @property
    def signature(self) -> str:
        """Filter, fit and normalisation in one word, for a result's signature."""
        depth = "8bit" if self.eight_bit else "float"
        norm = {IMAGENET: "imagenet", OPENAI_CLIP: "clip", HALF: "half"}.get((self.mean, self.std), "own")
        return f"{self.size}/{self.kind}-aa-{depth}/{self.fit}/{norm}"

    def __call__(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) float32 from images (B, 1 or 3, H, W) float32, nominally in [0, 1]."""
        x = to_rgb(images)
        if self.eight_bit:
            x = quantise(x * 255.0)
        x = self._fit(x)
        if self.eight_bit:
            x = x / 255.0
        if self.fit == "pad":
            down, right = self.size - x.shape[-2], self.size - x.shape[-1]
            x = F.pad(x, (right // 2, right - right // 2, down // 2, down - down // 2))
        mean, std = x.new_tensor(self.mean)[:, None, None], x.new_tensor(self.std)[:, None, None]
        return (x - mean) / std

    def _fit(self, x: Tensor) -> Tensor:
        size, (h, w) = self.size, x.shape[-2:]
        if self.fit == "squash":
            return self._resize(x, size, size)
        if self.fit == "square":
            return self._resize(centre_crop(x, min(h, w), min(h, w)), size, size)
        if self.fit == "pad":
            return self._resize(x, round(h * size / max(h, w)), round(w * size / max(h, w)))
        shape = (size, int(size * w / h)) if h <= w else (int(size * h / w), size)
        return centre_crop(self._resize(x, *shape), size, size)

    def _resize(self, x: Tensor, height: int, width: int) -> Tensor:
        if self.eight_bit:
            return resize_like_pillow(x, height, width, self.kind)
        return _antialiased(x, height, width, self.kind)
