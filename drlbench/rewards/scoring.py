"""Scoring many images with a reward: the same object serves as metric and as what is maximised."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from drlbench.errors import UserError
from drlbench.rewards.base import Reward
from drlbench.training import to_float


@torch.no_grad()
def score_images(
    reward: Reward,
    images: NDArray[np.uint8],
    labels: NDArray[np.integer[Any]],
    batch_size: int = 64,
    device: torch.device | str = "cpu",
    progress: Callable[[float], None] | None = None,
) -> NDArray[np.float64]:
    """Scores (n,) float64 of images (n, H, W, C) uint8 with labels (n,).

    Args:
        progress: told the fraction done in (0, 1] after each batch.

    Raises:
        UserError: labels do not fit the images, or a score is NaN or infinite (which one is said).
    """
    if labels.shape != (len(images),):
        raise UserError(f"{reward.name}: labels of shape {labels.shape} for {len(images)} images")
    scores = np.empty(len(images))
    for start in range(0, len(images), batch_size):
        part = slice(start, start + batch_size)
        y = torch.from_numpy(np.ascontiguousarray(labels[part]).astype(np.int64)).to(device)
        scores[part] = reward(to_float(images[part]).to(device), y).double().cpu().numpy()
        if progress is not None:
            progress(min(1.0, (start + batch_size) / len(images)))
    if not np.isfinite(scores).all():
        raise UserError(
            f"{reward.name}: the score of image {int(np.flatnonzero(~np.isfinite(scores))[0])} is not finite"
        )
    return scores
