"""Flow-matching training of a small backbone from scratch, for embedded suites.

In the one convention: X_t = t X_1 + (1 - t) s X_0, target X_1 - s X_0. With `min_noise_level` = e the
target is (X_1 - X_t) / max(1 - t, e), as JiT trains and samples with e = 0.05 (arXiv 2511.13720).

Shapes: N latents, B batch, C channels, H and W latent height and width, T tokens of Z features.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from drlbench.backbones.base import VelocityModel
from drlbench.backbones.repa.network import REPAVelocity, projection_loss
from drlbench.errors import UserError
from drlbench.flow.path import column, interpolate, shift_time
from drlbench.seeds import seeded
from drlbench.settings import Settings, parse_settings
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

    Raises:
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
        average = _train(model, latents, labels, tokens, record, generator, log, progress)
    weights: list[Tensor] = [p for p in model.parameters() if p.requires_grad]
    with torch.no_grad():
        for weight, mean in zip(weights, average, strict=True):
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


def _train(
    model: VelocityModel,
    latents: Tensor,
    labels: Tensor,
    tokens: Tensor | None,
    s: PretrainSettings,
    generator: torch.Generator,
    log: TrainingLog,
    progress: Progress,
) -> list[Tensor]:
    weights: list[Tensor] = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=s.lr, betas=(0.9, s.beta2), weight_decay=s.weight_decay, fused=True)
    average = [w.detach().clone() for w in weights]
    model.train()
    losses: list[Tensor] = []
    for step in range(s.steps):
        factor = warmup_then_linear(step, s.steps, s.warmup, s.hold, s.floor)
        optimiser.param_groups[0]["lr"] = s.lr * factor
        index = sent(torch.randint(len(latents), (s.batch,), generator=generator), latents.device)
        aligned = None if tokens is None else tokens[index]
        loss = flow_matching_loss(model, latents[index], labels[index], s, generator, aligned)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        decay = min(s.ema, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(average, weights, 1 - decay)
        losses.append(loss.detach())
        if len(losses) == 100 or step == s.steps - 1:
            log.note(step + 1, loss=torch.stack(losses).mean().item())
            losses.clear()
            progress((step + 1) / s.steps)
    return average
