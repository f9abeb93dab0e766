"""The latents that an algorithm learns from: all in memory, or made from their images when they are asked for.

Shapes: N images, C channels, H and W height and width of the latent, b rows picked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from drlbench.training import to_float

ENCODED_AT_ONCE = 64


class Latents(Protocol):
    """What algorithms ask of their data; a tensor (N, C, H, W) is one."""

    @property
    def device(self) -> torch.device: ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Tensor, /) -> Tensor: ...  # (b,) int64 -> (b, C, H, W) float32


class StreamedLatents:
    """Rows are read, encoded and forgotten: ImageNet's latents of a pixel model would take a terabyte.

    Args:
        images: uint8 (N, H', W', C'), a sequence that gives picked rows.
        encode: images in [0, 1] (b, C', H', W') -> latents (b, C, H, W), without gradient.
        device: that they are encoded on, and stay on.
    """

    def __init__(self, images: Any, encode: Callable[[Tensor], Tensor], device: str) -> None:
        self._images, self._encode, self._target = images, encode, device
        self.device = torch.device("cpu")  # where rows are picked

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, rows: Tensor, /) -> Tensor:
        parts = []
        with torch.no_grad():
            for piece in rows.cpu().split(ENCODED_AT_ONCE):
                parts.append(self._encode(to_float(self._images[piece.numpy()]).to(self._target)))
        return torch.cat(parts)
