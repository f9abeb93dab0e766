"""Features are computed in float32 on a GPU too, where cuDNN would take TF32 by itself."""

from __future__ import annotations

import numpy as np
import torch

from drlbench.encoders.base import Encoder
from drlbench.features.extract import extract


class Asking(Encoder):
    """Notes what convolutions may take while it is asked."""

    dim, signature = 1, "asking"

    def __init__(self) -> None:
        super().__init__()
        self.allowed: list[bool] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.allowed.append(torch.backends.cudnn.allow_tf32)
        return images.flatten(1)[:, :1]


def test_features_are_taken_without_tf32(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    asking = Asking()
    extract(asking, np.zeros((3, 2, 2, 1), dtype=np.uint8))
    assert asking.allowed == [False]
    assert torch.backends.cudnn.allow_tf32, "training keeps what it had"
