"""The DRL reward: the logit of a discriminator between data and the base model's samples (paper, stage 1).

With a calibrated logit, exp(r) is the density ratio q_data/p_base seen through the frozen encoders, and
lambda = 1 is the data distribution. `discriminator_fit.py` trains it.

Shapes: B batch, C channels, H and W image height and width, F sum of the encoders' feature dimensions.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
import torch
from pydantic import Field
from torch import Tensor, nn

from drlbench.encoders.base import Encoder
from drlbench.errors import IntegrityError
from drlbench.rewards.base import Reward
from drlbench.rewards.head import HeadKind, ProjectionHead
from drlbench.settings import Settings, parse_settings
from drlbench.store.atomic import write_bytes, write_json

WEIGHTS, RECORD = "discriminator.safetensors", "discriminator.json"


class DiscriminatorSettings(Settings):
    """The paper's settings by default."""

    head: HeadKind = "linear"
    width: int = Field(512, ge=1)
    dropout: float = Field(0.0, ge=0, lt=1)
    heads: int = Field(1, ge=1, description="independent heads whose logits are averaged")
    whiten: Literal["none", "scale", "full"] = Field(
        "none", description="features on real images: unit variance per dimension, or a full (ridge) whitening"
    )
    clamp_input: bool = Field(False, description="clamp images to [0, 1] first; no gradient beyond")
    r1: float = Field(0.0, ge=0, description="gamma of gamma/2 |grad_x logit|^2 on real images, in pixels")
    r1_every: int = Field(1, ge=1, description="R1 on every n-th step only, n times as strong (lazy, StyleGAN2)")
    r1_images: int | None = Field(None, ge=1, description="of a mini-batch's real images; none: all of them")
    learning_rate: float = Field(1e-4, gt=0)
    encoder_learning_rate: float | None = Field(None, gt=0, description="train a copy of the encoders too")
    weight_decay: float = Field(0.0, ge=0, description="decoupled (AdamW); 0 is plain Adam")
    schedule: Literal["constant", "one-cycle"] = "constant"
    batch: int = Field(512, ge=2, description="images in a mini-batch, half of them real")
    steps: int = Field(10_000, ge=1)
    buffer_batches: int = Field(20, ge=1, description="mini-batches of pairs drawn at a time")
    buffer_epochs: int = Field(10, ge=1, description="passes over the buffer before it is refilled")
    validate_every: int = Field(50, ge=1)
    patience: int | None = Field(15, ge=1, description="validations without improvement before stopping; none: never")


class Discriminator(Reward):
    """A frozen discriminator: images (B, C, H, W) and labels (B,) -> logit (B,) float32.

    Args:
        encoders: looked through together; their features are concatenated.
        shift, matrix: whitening, (F,) and (F, F).
        report: what `discriminator_report.py` measured.
    """

    name = "discriminator"
    Record = DiscriminatorSettings
    shift: Tensor
    matrix: Tensor

    def __init__(
        self,
        encoders: Sequence[Encoder],
        settings: DiscriminatorSettings,
        classes: int,
        seed: int = 0,
        shift: Tensor | None = None,
        matrix: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(encoders)
        self.settings, self.classes = settings, classes
        self.dim = sum(encoder.dim for encoder in encoders)
        self.encoder_signatures = [encoder.signature for encoder in encoders]
        self.head = ProjectionHead(
            self.dim, classes, settings.head, settings.width, settings.dropout, settings.heads, seed
        )
        self.register_buffer("shift", torch.zeros(self.dim) if shift is None else shift)
        self.register_buffer("matrix", torch.eye(self.dim) if matrix is None else matrix)
        self.report: dict[str, Any] = {}

    @property
    def signature(self) -> str:  # type: ignore[override] # an attribute elsewhere; here the weights are in it
        """Encoders, settings and a hash of the trained weights."""
        digest = hashlib.sha256(safetensors.torch.save(self._weights())).hexdigest()[:12]
        return f"discriminator {digest} ({self.settings.head}) on {' + '.join(self.encoder_signatures)}"

    def features(self, images: Tensor) -> Tensor:
        """Whitened features (B, F) of images (B, C, H, W)."""
        if self.settings.clamp_input:
            images = images.clamp(0, 1)
        joined = torch.cat([encoder(images) for encoder in self.encoders], 1)
        return joined if self.settings.whiten == "none" else (joined - self.shift) @ self.matrix

    def forward(self, images: Tensor, y: Tensor) -> Tensor:
        return self.head(self.features(images), y).mean(0).float()

    def _weights(self) -> dict[str, Tensor]:
        trained = self.settings.encoder_learning_rate is not None
        state = {k: v for k, v in self.state_dict().items() if trained or not k.startswith("encoders.")}
        return {k: v.contiguous().cpu() for k, v in state.items()}

    def save(self, folder: Path) -> None:
        """Write weights and record; frozen encoders are named by signature, trained ones are written."""
        content = safetensors.torch.save(self._weights())
        write_bytes(folder / WEIGHTS, content)
        record = {
            "settings": self.settings.model_dump(),
            "classes": self.classes,
            "encoders": self.encoder_signatures,
            "sha256": hashlib.sha256(content).hexdigest(),
            "report": self.report,
        }
        write_json(folder / RECORD, record)

    @classmethod
    def load(cls, folder: Path, encoders: Sequence[Encoder]) -> Discriminator:
        """Read what `save` wrote.

        Raises:
            IntegrityError: a file is missing or altered, or the encoders are not those it was trained with.
        """
        try:
            record = json.loads((folder / RECORD).read_text())
            content = (folder / WEIGHTS).read_bytes()
        except (OSError, ValueError) as error:
            raise IntegrityError(f"{folder}: not a saved discriminator ({error})") from error
        if hashlib.sha256(content).hexdigest() != record["sha256"]:
            raise IntegrityError(f"{folder / WEIGHTS}: does not match its checksum")
        given = [encoder.signature for encoder in encoders]
        if given != record["encoders"]:
            raise IntegrityError(f"{folder}: was trained on encoders {record['encoders']}, not on {given}")
        loaded = cls(
            encoders, parse_settings(DiscriminatorSettings, record["settings"], str(folder)), record["classes"]
        )
        loaded.load_state_dict(safetensors.torch.load(content), strict=False)
        loaded.report = record["report"]
        return loaded.requires_grad_(False).eval()
