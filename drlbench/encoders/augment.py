"""Random small deformations of training images, one per image.

Shapes: B images, C channels, H and W height and width.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from drlbench.training import sent


def deform(
    images: Tensor, generator: torch.Generator, *, angle: float, scale: float, shear: float, shift: float
) -> Tensor:
    """Images (B, C, H, W), each under its own random affine map, bilinear, 0 outside.

    Args:
        angle: largest rotation in radians.
        scale: largest relative change of size.
        shear: largest shear.
        shift: largest translation as a share of half the image (0.25 is one pixel of eight).
    """
    count = len(images)

    def uniform(most: float) -> Tensor:
        return most * (2 * torch.rand(count, generator=generator) - 1)

    turn, size, slant = uniform(angle), 1 + uniform(scale), uniform(shear)
    cos, sin = turn.cos() / size, turn.sin() / size
    # Rows of the maps from output to input coordinates in [-1, 1].
    first = torch.stack([cos, slant * cos - sin, uniform(shift)], 1)
    second = torch.stack([sin, slant * sin + cos, uniform(shift)], 1)
    maps = sent(torch.stack([first, second], 1), images.device)  # (B, 2, 3)
    return F.grid_sample(images, F.affine_grid(maps, list(images.shape), align_corners=False), align_corners=False)
