"""The DRL reward: the logit of a discriminator between data and the base model's samples (paper, stage 1).

With a calibrated logit, exp(r) is the density ratio q_data/p_base seen through the frozen encoders, and
lambda = 1 is the data distribution. `discriminator_fit.py` trains it.

Shapes: B batch, C channels, H and W image height and width, F sum of the encoders' feature dimensions.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

import safetensors.torch
import torch
from pydantic import Field, model_validator
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

    head: HeadKind = Field("linear", description="what reads the features")
    width: int = Field(512, ge=1, description="of the hidden layers of the head")
    dropout: float = Field(0.0, ge=0, lt=1, description="in the head")
    heads: int = Field(1, ge=1, description="independent heads whose logits are averaged")
    whiten: Literal["none", "scale", "full"] = Field(
        "none", description="features on real images: unit variance per dimension, or a full (ridge) whitening"
    )
    noise: float = Field(
        0.0,
        ge=0,
        description="standard deviation of Gaussian noise on the images, of pixels in [0, 1]: fitted on noisy images, "
        "the logit is the mean over noise_draws fixed draws, which smooths its gradient; the report is of single draws",
    )
    noise_draws: int = Field(4, ge=1, description="draws of that noise, the same for all images")
    clamp_input: bool = Field(False, description="clamp images to [0, 1] first; no gradient beyond")
    r1: float = Field(
        0.0,
        ge=0,
        description="gamma of gamma/2 |grad_x logit|^2 on real images, in pixels; the logit is the heads' mean and the "
        "logistic loss their sum, so that several heads feel it as one head feels gamma / heads",
    )
    r1_every: int = Field(1, ge=1, description="R1 on every n-th step only, n times as strong (lazy, StyleGAN2)")
    r1_images: int | None = Field(None, ge=1, description="of a mini-batch's real images; none: all of them")
    learning_rate: float = Field(1e-4, gt=0, description="peak, of AdamW")
    encoder_learning_rate: float | None = Field(
        None, gt=0, description="train a copy of the encoders too; the paper's ablation: 1e-5, from scratch 1e-4"
    )
    encoder_weights: Literal["pretrained", "scratch"] = Field(
        "pretrained", description="what a trained copy starts from; scratch: drawn anew from the fit's seed"
    )
    micro_batch: int | None = Field(
        None, ge=2, description="images at once wherever gradients pass an encoder (R1, training it); none: all"
    )
    weight_decay: float = Field(0.0, ge=0, description="decoupled (AdamW); 0 is plain Adam")
    schedule: Literal["constant", "one-cycle"] = Field("constant", description="of the learning rate")
    batch: int = Field(512, ge=2, description="images in a mini-batch, half of them real")
    steps: int = Field(10_000, ge=1, description="most updates of a fit")
    buffer_batches: int = Field(20, ge=1, description="mini-batches of pairs drawn at a time")
    buffer_epochs: int = Field(10, ge=1, description="passes over the buffer before it is refilled")
    validate_every: int = Field(50, ge=1, description="updates between validations")
    patience: int | None = Field(15, ge=1, description="validations without improvement before stopping; none: never")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.encoder_learning_rate is None and self.encoder_weights == "scratch":
            raise ValueError(
                "encoder_weights: scratch needs an encoder_learning_rate (the paper's is 1e-4), or nothing trains it"
            )
        if self.encoder_learning_rate is not None and self.whiten != "none":
            raise ValueError("whiten must be 'none' when the encoder is trained, its features move")
        return self


class Discriminator(Reward):
    """A frozen discriminator: images (B, C, H, W) and labels (B,) -> logit (B,) float32.

    Args:
        encoders: looked through together; their features are concatenated.
        shift, matrix: whitening, (F,) and (F, F).
        report: what `discriminator_report.py` measured.
    """

    name = "discriminator"
    fitted = True
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
        self._patterns = torch.empty(0)

    @property
    def signature(self) -> str:  # type: ignore[override] # an attribute elsewhere; here the weights are in it
        """Encoders, settings and a hash of the trained weights."""
        digest = hashlib.sha256(safetensors.torch.save(self._weights())).hexdigest()[:12]
        looks_through = " + ".join(self.encoder_signatures)
        if self.settings.encoder_learning_rate is not None:
            looks_through += ", trained from scratch" if self.settings.encoder_weights == "scratch" else ", fine-tuned"
        if self.settings.noise:
            looks_through += f", under noise {self.settings.noise:g} ({self.settings.noise_draws} draws)"
        return f"discriminator {digest} ({self.settings.head}) on {looks_through}"

    def features(self, images: Tensor, draw: int | None = None) -> Tensor:
        """Whitened features (B, F) of images (B, C, H, W), under one draw of the noise or all in turn."""
        images = images + self._noise(images, draw) if self.settings.noise else images
        if self.settings.clamp_input:
            images = images.clamp(0, 1)
        joined = torch.cat([encoder(images) for encoder in self.encoders], 1)
        return joined if self.settings.whiten == "none" else (joined - self.shift) @ self.matrix

    def forward(self, images: Tensor, y: Tensor) -> Tensor:
        draws = range(self.settings.noise_draws) if self.settings.noise else (None,)
        return torch.stack([self.head(self.features(images, draw), y).mean(0).float() for draw in draws]).mean(0)

    def _noise(self, images: Tensor, draw: int | None) -> Tensor:
        """One draw (1, C, H, W), or each image's own in turn (B, C, H, W); one seed for all discriminators."""
        if self._patterns.shape[1:] != images.shape[1:] or self._patterns.device != images.device:
            size = (self.settings.noise_draws, *images.shape[1:])
            drawn = torch.randn(size, generator=torch.Generator().manual_seed(0))
            self._patterns = self.settings.noise * drawn.to(images)
        count = len(self._patterns)
        return self._patterns[torch.arange(len(images)) % count if draw is None else slice(draw, draw + 1)]

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
        settings = parse_settings(DiscriminatorSettings, record["settings"], str(folder))
        trained = settings.encoder_learning_rate is not None
        # Whoever gave the encoders still looks through them, and not through what this fit made of them.
        loaded = cls(copy.deepcopy(list(encoders)) if trained else encoders, settings, record["classes"])
        missing, extra = loaded.load_state_dict(safetensors.torch.load(content), strict=False)
        if extra or any(trained or not name.startswith("encoders.") for name in missing):
            raise IntegrityError(f"{folder / WEIGHTS}: not the tensors of this discriminator: {(extra or missing)[0]}")
        loaded.report = record["report"]
        return loaded.requires_grad_(False).eval()
