"""A preference reward trained here: P(first preferred) = sigmoid(r(first, y) - r(second, y)) (Bradley and Terry 1952).

Shapes: B batch, N pairs, C channels, H and W image height and width, D width of the last hidden layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from drlbench.data.pairs import Pairs
from drlbench.encoders.base import Encoder
from drlbench.errors import UserError
from drlbench.rewards.base import Reward
from drlbench.seeds import seeded
from drlbench.settings import Settings, parse_settings
from drlbench.training import (
    Progress,
    TrainingLog,
    load_config,
    load_weights,
    save_network,
    to_float,
    unwatched,
    warmup_then_cosine,
    weights_sha256,
)

BINS = 10
SYNTHETIC, TASTE = "synthetic-digits", "synthetic-taste"


class BradleyTerrySettings(Settings):
    """The network and its training.

    Attributes:
        pairs: a path to preference pairs, or a synthetic annotator: `SYNTHETIC` of digits
            (`drlbench.data.synthetic_annotator`), or `TASTE` of colour images (`drlbench.data.synthetic_taste`).
        count: how many pairs the synthetic annotator judges.
        network: "conv", two convolutions, or "mlp", two fully connected layers.
        validation: share of the pairs that accuracy and calibration are measured on.
    """

    pairs: str = SYNTHETIC
    count: int = Field(6000, ge=20)
    network: Literal["conv", "mlp"] = "conv"
    width: int = Field(16, ge=4, multiple_of=4, description="channels")
    steps: int = Field(500, ge=1, description="updates")
    batch: int = Field(128, ge=1, description="pairs in one update")
    lr: float = Field(2e-3, gt=0, description="peak, of AdamW")
    weight_decay: float = Field(1e-2, ge=0, description="decoupled (AdamW); 0 is plain Adam")
    validation: float = Field(0.2, gt=0, lt=1)


class BradleyTerry(Reward):
    """Score of an image given its class; its differences are log-odds of being preferred."""

    kind: ClassVar[str] = "bradley-terry"
    fitted = True
    Record: ClassVar[type[Settings]] = BradleyTerrySettings

    def __init__(self, name: str, settings: BradleyTerrySettings, image_shape: Sequence[int], classes: int) -> None:
        """Untrained; `fit` and `load` are the ways to a usable one. `image_shape` is (C, H, W)."""
        super().__init__()
        channels, height, width = image_shape
        self.name, self.settings, self.image_shape, self.classes = name, settings, tuple(image_shape), classes
        w = settings.width
        if settings.network == "conv":
            size = 2 * w * -(-height // 2) * -(-width // 2)
            body = [
                nn.Conv2d(channels, w, 3, padding=1),
                nn.SiLU(),
                nn.Conv2d(w, 2 * w, 3, stride=2, padding=1),
                nn.SiLU(),
                nn.Flatten(),
            ]
        else:
            size = channels * height * width
            body = [nn.Flatten()]
        self.body = nn.Sequential(*body, nn.Linear(size, 4 * w), nn.SiLU())  # (B, D)
        self.out = nn.Linear(4 * w, 1)
        self.by_class = nn.Embedding(classes, 4 * w)
        nn.init.zeros_(self.by_class.weight)
        self.signature = f"{self.kind}:{name}:untrained"

    @classmethod
    def fit(
        cls,
        name: str,
        pairs: Pairs,
        classes: int,
        settings: Mapping[str, Any],
        seed: int,
        progress: Progress = unwatched,
    ) -> tuple[Self, TrainingLog]:
        """Train on a part of the pairs, measure on the rest, freeze.

        Returns:
            the reward, and a log whose summary holds held-out `accuracy`, `nll` and `ece` (expected calibration error
            of the winning probability, 10 bins) with the number of pairs they rest on.

        Raises:
            UserError: a setting is wrong, or there are too few pairs.
        """
        record = parse_settings(BradleyTerrySettings, settings, f"reward '{name}'")
        held = round(len(pairs.first) * record.validation)
        if not 0 < held < len(pairs.first):
            raise UserError(
                f"reward '{name}': {len(pairs.first)} pairs are too few to hold {record.validation:.0%} out"
            )
        first, second = to_float(pairs.first), to_float(pairs.second)
        y, winner = torch.from_numpy(pairs.labels), torch.from_numpy(pairs.winner).float()
        with seeded(seed) as generator:
            order = torch.randperm(len(first), generator=generator)
            train, check = order[held:], order[:held]
            reward = cls(name, record, first.shape[1:], classes)
            log = reward._train(first[train], second[train], y[train], winner[train], generator, progress)
            reward.requires_grad_(False).eval()
            log.summary |= reward._judge(first[check], second[check], y[check], winner[check])
        reward._sign()
        return reward, log

    @classmethod
    def rehearse(cls, settings: Mapping[str, Any], image_shape: tuple[int, int, int], classes: int) -> None:
        """The training of `fit` on the meta device, where nothing is computed, for whoever counts."""
        record = parse_settings(BradleyTerrySettings, settings, cls.kind)
        with seeded(0) as generator:
            reward = cls(cls.kind, record, image_shape, classes).to("meta")
            images = torch.empty(record.batch, *image_shape, device="meta")
            y = torch.zeros(record.batch, dtype=torch.int64, device="meta")
            reward._train(images, images, y, y.float(), generator, unwatched)

    def forward(self, images: Tensor, y: Tensor) -> Tensor:
        """Scores (B,) of images (B, C, H, W), nominally in [0, 1], with labels y (B,) int64."""
        h = self.body(images * 2 - 1)
        return self.out(h)[:, 0] + (h * self.by_class(y)).sum(1)

    def _train(
        self,
        first: Tensor,
        second: Tensor,
        y: Tensor,
        winner: Tensor,
        generator: torch.Generator,
        progress: Progress,
    ) -> TrainingLog:
        s, log = self.settings, TrainingLog()
        optimiser = torch.optim.AdamW(self.parameters(), lr=s.lr, weight_decay=s.weight_decay)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda step: warmup_then_cosine(step, s.steps, min(20, s.steps))
        )
        for step in range(s.steps):
            rows = torch.randint(len(first), (s.batch,), generator=generator)
            scores = self(torch.cat([first[rows], second[rows]]), y[rows].repeat(2))
            margin = scores[s.batch :] - scores[: s.batch]
            loss = F.binary_cross_entropy_with_logits(margin, winner[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            if step % 20 == 0 or step == s.steps - 1:
                log.note(step + 1, loss=loss.item())
                progress((step + 1) / s.steps)
        return log

    def _judge(self, first: Tensor, second: Tensor, y: Tensor, winner: Tensor) -> dict[str, float]:
        with torch.no_grad():
            p = torch.sigmoid(self(second, y) - self(first, y)).double()
        loss = F.binary_cross_entropy(p, winner.double())
        cells = (p * BINS).long().clamp_max(BINS - 1)
        gaps = [
            (p[cells == b].mean() - winner[cells == b].double().mean()).abs() * (cells == b).double().mean()
            for b in range(BINS)
            if bool((cells == b).any())
        ]
        accuracy = ((p > 0.5) == (winner > 0.5)).double().mean()
        return {"accuracy": float(accuracy), "nll": float(loss), "ece": float(sum(gaps)), "pairs": float(len(p))}

    def _sign(self) -> None:
        self.signature = f"{self.kind}:{self.settings.pairs}:{weights_sha256(self)}"

    def save(self, folder: Path) -> None:
        """Keep the frozen reward in `folder`."""
        save_network(
            folder,
            self,
            {
                "kind": self.kind,
                "name": self.name,
                "encoders": [],
                "settings": self.settings.model_dump(mode="json"),
                "image_shape": list(self.image_shape),
                "classes": self.classes,
            },
        )

    @classmethod
    def load(cls, folder: Path, encoders: Sequence[Encoder] = ()) -> Self:
        """Read what `save` wrote, frozen."""
        config = load_config(folder, cls.kind)
        record = parse_settings(BradleyTerrySettings, config["settings"], str(folder))
        reward = cls(config["name"], record, config["image_shape"], config["classes"])
        load_weights(folder, reward)
        reward.requires_grad_(False).eval()
        reward._sign()
        return reward
