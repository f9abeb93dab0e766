"""Scoring many images with a reward: the same object serves as metric and as what is maximised."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from drlbench.errors import UserError
from drlbench.rewards.base import Reward


@torch.inference_mode()
def score_images(
    reward: Reward,
    images: NDArray[np.uint8],
    labels: NDArray[np.integer[Any]],
    batch_size: int = 64,
    device: torch.device | str = "cpu",
) -> NDArray[np.float64]:
    """Scores (n,) float64 of images (n, H, W, C) uint8 with labels (n,).

    Raises:
        UserError: labels do not fit the images, or a score is NaN or infinite (which one is said).
    """
    if labels.shape != (len(images),):
        raise UserError(f"{reward.name}: labels of shape {labels.shape} for {len(images)} images")
    scores = np.empty(len(images))
    for start in range(0, len(images), batch_size):
        part = slice(start, start + batch_size)
        x = torch.from_numpy(np.ascontiguousarray(images[part])).to(device).permute(0, 3, 1, 2).float().div_(255.0)
        y = torch.from_numpy(np.ascontiguousarray(labels[part]).astype(np.int64)).to(device)
        scores[part] = reward(x, y).double().cpu().numpy()
    if not np.isfinite(scores).all():
        raise UserError(
            f"{reward.name}: the score of image {int(np.flatnonzero(~np.isfinite(scores))[0])} is not finite"
        )
    return scores
