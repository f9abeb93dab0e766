"""What reinforcement learning maximises and what the preference metrics score with: the same object.

Shapes: B batch, C channels, H and W image height and width.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Self

from torch import Tensor, nn

from drlbench.encoders.base import Encoder
from drlbench.training import CONFIG


class Reward(nn.Module, ABC):
    """A frozen, differentiable score of an image given its class.

    A subclass must have `name`, `signature` and `forward`. What it may have besides stands here with its default.

    Attributes:
        name: the metric name under which the score appears in results.csv.
        signature: a short string naming everything the score depends on, weights by their sha256 (first 12 hex digits).
        class_names: of the prompts that it reads, in label order; None where the class is a bare index to it.
        fitted: made by a suite's stage, from samples or from pairs, and not by its constructor.
        needs_labels: whether the class is looked at; if not, images without labels can be scored.
        named_by_suite: whether the constructor takes, beside the suite's settings, the `name` that the suite gives.
    """

    fitted: ClassVar[bool] = False
    needs_labels: ClassVar[bool] = True
    named_by_suite: ClassVar[bool] = True
    class_names: tuple[str, ...] | None = None
    name: str
    signature: str

    @abstractmethod
    def forward(self, images: Tensor, y: Tensor) -> Tensor:
        """Scores (B,) float32 of images (B, C, H, W), nominally in [0, 1], with labels y (B,) int64."""

    def save(self, folder: Path) -> None:
        """Keep what `load` needs beside the `config.json` that is there: kind, name, encoders and settings."""

    @classmethod
    def load(cls, folder: Path, encoders: Sequence[Encoder]) -> Self:
        """Read the reward that a stage kept in `folder`; it looks through `encoders`, in the suite's order."""
        config = json.loads((folder / CONFIG).read_text())
        name = {"name": config["name"]} if cls.named_by_suite else {}
        return cls(**name, **config["settings"])
