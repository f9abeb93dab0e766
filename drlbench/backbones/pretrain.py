"""Flow-matching training of a small backbone from scratch, for embedded suites.

In the one convention: X_t = t X_1 + (1 - t) s X_0, target X_1 - s X_0. With `min_noise_level` = e the
target is (X_1 - X_t) / max(1 - t, e), as JiT trains and samples with e = 0.05 (arXiv 2511.13720).

Shapes: N latents, B batch, C channels, H and W latent height and width, T tokens of Z features.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
import torch
from pydantic import Field
from torch import Tensor

from drlbench.backbones.base import VelocityModel
from drlbench.backbones.repa.network import REPAVelocity, projection_loss
from drlbench.errors import UserError
from drlbench.flow.path import column, interpolate, shift_time
from drlbench.seeds import seeded
from drlbench.settings import Settings, parse_settings
from drlbench.store import checkpoint
from drlbench.training import Progress, TrainingLog, sent, unwatched, warmup_then_linear


class PretrainSettings(Settings):
    """How a small base model is trained.

    Attributes:
        hold, floor: the learning rate is constant for this share of the steps, then falls linearly to floor x lr.
        ema: decay of the weight average that is kept, with a warm-up of (1 + n) / (10 + n).
        label_drop: share of a batch whose label becomes the null class (for classifier-free guidance).
        time: "uniform", or "logit-normal": sigmoid of a normal with mean time_mean and deviation time_std.
        alignment_weight: of the projection loss of a REPA model (its authors' 0.5), where tokens are given.
        time_shift: alpha of `shift_time`, which favours noise when above 1 (RAE).
    """

    steps: int = Field(8000, ge=1)
    batch: int = Field(128, ge=1)
    lr: float = Field(3e-3, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    beta2: float = Field(0.99, gt=0, lt=1)
    warmup: int = Field(100, ge=1)
    hold: float = Field(0.6, ge=0, le=1)
    floor: float = Field(0.05, ge=0, le=1)
    ema: float = Field(0.995, ge=0, lt=1)
    label_drop: float = Field(0.1, ge=0, lt=1)
    time: Literal["uniform", "logit-normal"] = "uniform"
    time_mean: float = 0.0
    time_std: float = Field(1.0, gt=0)
    time_shift: float = Field(1.0, ge=1)
    min_noise_level: float = Field(0.0, ge=0, lt=1)
    alignment_weight: float = Field(0.5, ge=0)


def pretrain(
    model: VelocityModel,
    latents: Tensor,
    labels: Tensor,
    settings: Mapping[str, Any],
    seed: int,
    tokens: Tensor | None = None,
    progress: Progress = unwatched,
    checkpoint_dir: Path | None = None,
) -> TrainingLog:
    """Train `model` in place and leave the weight average in it, in eval mode without gradients.

    Args:
        model: freshly made; its parameters that require gradients are trained.
        latents: (N, C, H, W) float32 of the train split, where the model is.
        labels: (N,) int64.
        settings: see `PretrainSettings`.
        seed: of every draw made here (not of the model's initial weights); draws are made on the CPU.
        tokens: (N, T, Z) features of the clean images that a REPA model's projections are aligned to.
        progress: told the share that is done, every 100 steps.
        checkpoint_dir: where a killed training of this data is taken up exactly, from at most some 30 s before; none:
            nothing is saved.

    Raises:
        IntegrityError: the checkpoint is damaged or of other settings.
        UserError: a setting is unknown or out of range, the latents do not have the model's shape, or there are tokens
            for a model that projects none.
    """
    record = parse_settings(PretrainSettings, settings, "pretrain")
    if tuple(latents.shape[1:]) != model.latent_shape or len(latents) != len(labels) or len(latents) == 0:
        raise UserError(
            f"pretrain: latents {tuple(latents.shape)} with {len(labels)} labels; the model takes (N, "
            f"{', '.join(map(str, model.latent_shape))}) and one label each"
        )
    if tokens is not None and not isinstance(model, REPAVelocity):
        raise UserError("pretrain: `align` is for the repa family; this model projects no tokens")
    log = TrainingLog()
    with seeded(seed) as generator:
        training = _Training(model, record, generator, checkpoint_dir, f"{record.model_dump_json()} seed {seed}")
        training.run(latents, labels, tokens, log, progress)
    with torch.no_grad():
        for weight, mean in zip(training.weights, training.average, strict=True):
            weight.copy_(mean)
    model.requires_grad_(False).eval()
    log.summary["parameters"] = float(sum(p.numel() for p in model.net.parameters()))
    return log


def flow_matching_loss(
    model: VelocityModel,
    x1: Tensor,
    y: Tensor,
    settings: PretrainSettings,
    generator: torch.Generator,
    tokens: Tensor | None = None,
) -> Tensor:
    """Mean squared velocity error of one batch x1 (B, C, H, W) with labels y (B,) int64; a scalar.

    With `tokens` (B, T, Z), the features of the clean images, REPA's projection loss is added.
    """
    count, device = len(x1), x1.device
    t = sent(sample_times(count, settings, generator), device)
    x0 = sent(torch.randn(x1.shape, generator=generator), device) * model.noise_scale
    x_t = interpolate(x0, x1, t)
    dropped = sent(torch.rand(count, generator=generator) < settings.label_drop, device)
    given = y.masked_fill(dropped, model.null_class)
    penalty: Tensor | float = 0.0
    if tokens is not None and isinstance(model, REPAVelocity):
        v, projections = model.velocity_and_projections(x_t, t, given)
        penalty = settings.alignment_weight * projection_loss(projections, [tokens])
    else:
        v = model.velocity(x_t, t, given)
    floor = settings.min_noise_level
    target = (x1 - x_t) / column(1 - t, x1).clamp(min=floor) if floor else x1 - x0
    return (v - target).square().mean() + penalty


def sample_times(count: int, settings: PretrainSettings, generator: torch.Generator) -> Tensor:
    """Training times t (count,) in [0, 1], stratified over the batch: one draw in each of `count` equal slices."""
    u = (torch.arange(count) + torch.rand(count, generator=generator)) / count
    u = u[torch.randperm(count, generator=generator)]
    if settings.time == "logit-normal":
        normal = torch.special.ndtri(u.double().clamp(1e-6, 1 - 1e-6)).float()
        u = torch.sigmoid(settings.time_mean + settings.time_std * normal)
    return shift_time(u, settings.time_shift)


class _Training:
    """Weights, their average, the optimiser and the draws of one training, and where they are kept."""

    def __init__(
        self, model: VelocityModel, s: PretrainSettings, generator: torch.Generator, folder: Path | None, signature: str
    ) -> None:
        self.model, self.settings, self.generator = model, s, generator
        self.folder, self.signature = folder, signature
        self.weights: list[Tensor] = [p for p in model.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(
            self.weights, lr=s.lr, betas=(0.9, s.beta2), weight_decay=s.weight_decay, fused=True
        )
        self.average = [w.detach().clone() for w in self.weights]

    def run(self, latents: Tensor, labels: Tensor, tokens: Tensor | None, log: TrainingLog, progress: Progress) -> None:
        s = self.settings
        self.model.train()
        losses: list[Tensor] = []
        begun = self._resume(log)
        saved_at, took = time.monotonic(), 0.0
        for step in range(begun, s.steps):
            losses.append(self._step(step, latents, labels, tokens))
            if len(losses) == 100 or step == s.steps - 1:
                log.note(step + 1, loss=torch.stack(losses).mean().item())
                losses.clear()
                progress((step + 1) / s.steps)
                now = time.monotonic()
                if self.folder is not None and step + 1 < s.steps and checkpoint.due(now - saved_at, took):
                    self._save(self.folder, log)
                    saved_at = time.monotonic()
                    took = saved_at - now

    def _step(self, step: int, latents: Tensor, labels: Tensor, tokens: Tensor | None) -> Tensor:
        s = self.settings
        factor = warmup_then_linear(step, s.steps, s.warmup, s.hold, s.floor)
        self.optimiser.param_groups[0]["lr"] = s.lr * factor
        index = sent(torch.randint(len(latents), (s.batch,), generator=self.generator), latents.device)
        aligned = None if tokens is None else tokens[index]
        loss = flow_matching_loss(self.model, latents[index], labels[index], s, self.generator, aligned)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        decay = min(s.ema, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(self.average, self.weights, 1 - decay)
        return loss.detach()

    def _save(self, folder: Path, log: TrainingLog) -> None:
        state = {"draws": self.generator.get_state(), "global draws": torch.get_rng_state()}
        for i, (weight, mean) in enumerate(zip(self.weights, self.average, strict=True)):
            adam = {f"adam/{name}/{i}": value for name, value in self.optimiser.state[weight].items()}
            state |= {f"weight/{i}": weight.detach(), f"average/{i}": mean, **adam}
        content = safetensors.torch.save({name: value.contiguous() for name, value in state.items()})
        rows = [{"step": step, "loss": loss} for step, loss in zip(log.steps, log.series["loss"], strict=True)]
        checkpoint.write(folder, [checkpoint.write_state(folder, log.steps[-1], 0, content)], self.signature, rows)

    def _resume(self, log: TrainingLog) -> int:
        """The number of steps that a killed training had done when it was last kept."""
        found = None if self.folder is None else checkpoint.read_for(self.folder, self.signature)
        if self.folder is None or found is None:
            return 0
        state = safetensors.torch.load_file(checkpoint.checked(self.folder, found.states[0]))
        self.generator.set_state(state["draws"])
        torch.set_rng_state(state["global draws"])
        with torch.no_grad():
            for i, (weight, mean) in enumerate(zip(self.weights, self.average, strict=True)):
                weight.copy_(state[f"weight/{i}"])
                mean.copy_(state[f"average/{i}"])
                self.optimiser.state[weight] = {  # none of what no loss reaches
                    name: state[f"adam/{name}/{i}"].to(weight.device)
                    for name in ("step", "exp_avg", "exp_avg_sq")
                    if f"adam/{name}/{i}" in state
                }
        for row in found.rows:
            log.note(int(row["step"]), loss=row["loss"])
        return log.steps[-1]
