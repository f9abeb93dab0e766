"""Latents that are encoded when they are asked for teach what latents in memory teach."""

from __future__ import annotations

import copy

import numpy as np
import torch
from finetune_models import TinyModel

from drlbench.finetune.latents import ENCODED_AT_ONCE, StreamedLatents
from drlbench.finetune.learner import shadow
from drlbench.finetune.sft import FlowMatchingSFT
from drlbench.training import to_float


class Counting:
    """uint8 images (N, 2, 2, 1) that note how many were read at a time."""

    def __init__(self, images: np.ndarray) -> None:
        self.images, self.asked = images, []

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        self.asked.append(len(rows))
        return self.images[rows]


def test_a_streamed_run_is_the_run_in_memory() -> None:
    images = np.random.default_rng(0).integers(0, 256, (200, 2, 2, 1), dtype=np.uint8)
    y, base, counting = torch.arange(200) % 3, TinyModel(), Counting(images)
    settings = {"batch": 150, "warmup": 0, "learning_rate": 1e-2}
    weights = []
    for latents in (base.encode(to_float(images)), StreamedLatents(counting, base.encode, "cpu")):
        run = FlowMatchingSFT(copy.deepcopy(base).requires_grad_(True), shadow(base), None, (latents, y), settings, 0)
        for _ in range(3):
            run.step()
        weights.append([p.detach() for p in run.policy.net.parameters()])
    assert all(torch.allclose(a, b, atol=1e-7) for a, b in zip(*weights, strict=True))
    assert any((a - b.detach()).abs().max() > 0 for a, b in zip(weights[0], base.net.parameters(), strict=True))
    # No more than one update's images are read for it, and few at once.
    assert sum(counting.asked) == 3 * 150
    assert max(counting.asked) == ENCODED_AT_ONCE
