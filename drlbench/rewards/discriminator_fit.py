"""Train the DRL discriminator: logistic loss, R1 in pixel space, pair buffer, early stop on held-out images.

Shapes: N real images, M fake images, B images of one kind in a mini-batch, F features.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from drlbench.encoders.base import Encoder
from drlbench.errors import UserError
from drlbench.rewards.calibration import balanced_nll, calibration_report
from drlbench.rewards.discriminator import Discriminator, DiscriminatorSettings
from drlbench.settings import parse_settings

Labelled = tuple[Tensor, Tensor]
"""Images (N, C, H, W) float32 in [0, 1] and labels (N,) int64."""

ENCODE_BATCH = 256
NEAR, PROBED = 4 / 255, 64  # noise of four grey levels on so many fakes, of `gradient_cosine`
RIDGE = 1e-3  # of the mean eigenvalue; keeps dead directions from being blown up by a full whitening


def fit_discriminator(
    encoders: Encoder | Sequence[Encoder],
    real: Labelled,
    fake: Labelled,
    held_out_real: Labelled,
    held_out_fake: Labelled,
    classes: int,
    settings: DiscriminatorSettings | dict[str, Any],
    seed: int,
    progress: Callable[[float], Any] = lambda done: None,
) -> Discriminator:
    """Fit on `real` against `fake`, keep the weights with the lowest held-out loss, and report on the held-out pair.

    Args:
        encoders: one or several; frozen, unless `encoder_learning_rate` asks for a trained copy.
        fake: samples of the model that will be the KL reference.
        progress: called with the fraction of the steps done at every validation.

    Returns:
        A frozen `Discriminator` whose `report` holds the validation curve, the calibration figures and
        `gradient_cosine`.

    Raises:
        UserError: settings do not fit together, or a set is empty.
    """
    if isinstance(settings, dict):
        settings = parse_settings(DiscriminatorSettings, settings, "discriminator")
    several = [encoders] if isinstance(encoders, Encoder) else list(encoders)
    for name, (images, labels) in {
        "real": real, "fake": fake, "held_out_real": held_out_real, "held_out_fake": held_out_fake,
    }.items():  # fmt: skip
        if len(images) == 0 or len(images) != len(labels):
            raise UserError(f"discriminator: {name} has {len(images)} images and {len(labels)} labels")
    if settings.encoder_learning_rate is not None:
        several = [_to_train(encoder, settings, seed + i) for i, encoder in enumerate(several)]
    shift, matrix = _whitening(several, real[0], settings)
    model = Discriminator(several, settings, classes, seed, shift, matrix).to(real[0].device)
    _Fit(model, real, fake, held_out_real, held_out_fake, seed).run(progress)
    model.requires_grad_(False).eval()
    chosen = torch.arange(min(PROBED, len(held_out_fake[0])))
    model.report["gradient_cosine"] = gradient_cosine(model, held_out_fake[0][chosen], held_out_fake[1][chosen])
    return model


def gradient_cosine(model: Discriminator, images: Tensor, y: Tensor) -> float:
    """Mean cosine of the logit's gradients at images (B, C, H, W) and at the same with noise of four grey levels.

    Near 1 a step along the gradient goes where it says; near 0 the gradient is texture that no generator can follow.
    """
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0)).to(images)

    def slope(x: Tensor) -> Tensor:
        x = x.detach().requires_grad_(True)
        return torch.autograd.grad(model(x, y).sum(), x)[0].flatten(1)

    return float(torch.cosine_similarity(slope(images), slope(images + NEAR * noise)).mean())


def rehearsal(
    encoders: Sequence[Encoder], settings: Mapping[str, Any], image_shape: tuple[int, int, int], classes: int
) -> Callable[[int], float]:
    """The step of any number on the meta device, where nothing is computed, for whoever counts; encoders lie there."""
    record = parse_settings(DiscriminatorSettings, settings, "discriminator")
    trained = record.encoder_learning_rate is not None
    several = [copy.deepcopy(encoder).requires_grad_(True) for encoder in encoders] if trained else list(encoders)
    model = Discriminator(several, record, classes).to("meta")
    half = record.batch // 2
    pair = torch.empty(half, *image_shape, device="meta"), torch.zeros(half, dtype=torch.int64, device="meta")
    fit = _Fit(model, pair, pair, pair, pair, 0)
    return lambda step: fit._step(step, torch.arange(half), fit.fake)


def _to_train(encoder: Encoder, settings: DiscriminatorSettings, seed: int) -> Encoder:
    """A copy whose weights take gradients, those of the original or untrained ones. It stays in eval mode."""
    if not any(True for _ in encoder.parameters()):
        raise UserError(
            f"discriminator: encoder '{encoder.signature}' has no weights to train; leave encoder_learning_rate out"
        )
    scratch = settings.encoder_weights == "scratch"
    return (encoder.untrained(seed) if scratch else copy.deepcopy(encoder)).requires_grad_(True)


def _encode(model: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([model(piece) for piece in images.split(ENCODE_BATCH)])


def _whitening(
    encoders: Sequence[Encoder], images: Tensor, settings: DiscriminatorSettings
) -> tuple[Tensor | None, Tensor | None]:
    if settings.whiten == "none":
        return None, None
    clamped = images.clamp(0, 1) if settings.clamp_input else images
    found = _encode(lambda piece: torch.cat([encoder(piece) for encoder in encoders], 1), clamped).double()
    mean = found.mean(0)
    covariance = (found - mean).T @ (found - mean) / max(1, len(found) - 1)  # (F, F)
    if settings.whiten == "scale":
        scale = (covariance.diagonal() + RIDGE * covariance.diagonal().mean()).rsqrt()
        return mean.float(), torch.diag(scale).float()
    values, vectors = torch.linalg.eigh(covariance)
    values = values.clamp_min(0) + RIDGE * values.mean()
    return mean.float(), (vectors * values.rsqrt() @ vectors.T).float()


class _Deck:
    """Indices of a set in a shuffled order without end: each comes up again only after all others have."""

    def __init__(self, size: int, generator: torch.Generator) -> None:
        self.size, self.generator, self.left = size, generator, torch.empty(0, dtype=torch.int64)

    def take(self, count: int) -> Tensor:
        """The next `count` indices (count,)."""
        while len(self.left) < count:
            self.left = torch.cat([self.left, torch.randperm(self.size, generator=self.generator)])
        taken, self.left = self.left[:count], self.left[count:]
        return taken


class _Fit:
    """One training run. Under frozen encoders features are computed once, and only R1 goes through the pixels."""

    def __init__(
        self,
        model: Discriminator,
        real: Labelled,
        fake: Labelled,
        held_real: Labelled,
        held_fake: Labelled,
        seed: int,
    ) -> None:
        s = model.settings
        self.model, self.settings = model, s
        self.pixels = s.encoder_learning_rate is not None
        self.order = torch.Generator().manual_seed(seed)
        place = real[0].device
        meta = place.type == "meta"  # it has neither generators nor fused optimisers
        self.noise = torch.Generator("cpu" if meta else place).manual_seed(seed + 1)
        self.real_images = real[0]
        self.real, self.fake = self._ready(real), self._ready(fake)
        self.held_real, self.held_fake = self._ready(held_real), self._ready(held_fake)
        groups: list[dict[str, Any]] = [{"params": list(model.head.parameters()), "lr": s.learning_rate}]
        if s.encoder_learning_rate is not None:
            groups.append({"params": list(model.encoders.parameters()), "lr": s.encoder_learning_rate})
        self.optimiser = torch.optim.AdamW(groups, weight_decay=s.weight_decay, fused=not meta)
        self.schedule = None
        if s.schedule == "one-cycle":
            peaks = [group["lr"] for group in groups]
            self.schedule = torch.optim.lr_scheduler.OneCycleLR(self.optimiser, max_lr=peaks, total_steps=s.steps)

    def _ready(self, pair: Labelled) -> Labelled:
        return pair if self.pixels else (_encode(self.model.features, pair[0]), pair[1])

    def run(self, progress: Callable[[float], Any]) -> None:
        s = self.settings
        curve: list[dict[str, float]] = []
        best, best_state, best_step, since = float("inf"), self._snapshot(), 0, 0
        losses: list[float] = []
        for step, (rows, fake) in enumerate(self._batches(), start=1):
            losses.append(self._step(step, rows, fake))
            if step % s.validate_every == 0 or step == s.steps:
                loss = float(balanced_nll(*self._held_out()))
                progress(step / s.steps)
                curve.append({"step": step, "train": sum(losses) / len(losses), "held_out": loss})
                losses = []
                if loss < best:
                    best, best_state, best_step, since = loss, self._snapshot(), step, 0
                else:
                    since += 1
                if s.patience is not None and since >= s.patience:
                    break
            if step == s.steps:
                break
        self.model.load_state_dict(best_state)
        report = {
            "curve": curve,
            "best_step": best_step,
            "steps": curve[-1]["step"],
            "fit_seed": self.order.initial_seed(),
        }
        self.model.report = calibration_report(*self._held_out()) | report

    def _snapshot(self) -> dict[str, Tensor]:
        return {k: v.detach().clone() for k, v in self.model.state_dict().items()}

    def _batches(self) -> Any:
        """Endless pairs (rows of the real set, labelled fakes), in epochs over a buffer that is refilled.

        A refill takes the images that come next in one shuffled order, so that it is fresh for as long as there are
        images left that no earlier buffer held.
        """
        s = self.settings
        half = s.batch // 2
        count = s.buffer_batches * half
        next_real, next_fake = _Deck(len(self.real[0]), self.order), _Deck(len(self.fake[0]), self.order)
        while True:
            chosen_real, chosen_fake = next_real.take(count), next_fake.take(count)
            for _ in range(s.buffer_epochs):
                order_real = chosen_real[torch.randperm(count, generator=self.order)]
                order_fake = chosen_fake[torch.randperm(count, generator=self.order)]
                for k in range(0, count, half):
                    r, f = order_real[k : k + half], order_fake[k : k + half]
                    yield r, (self.fake[0][f], self.fake[1][f])

    def _logits(self, images: Tensor, y: Tensor, noise: torch.Generator | None) -> Tensor:
        features = self.model.features(images) if self.pixels else images
        return self.model.head(features, y, noise)  # (E, B)

    def _step(self, step: int, rows: Tensor, fake: Labelled) -> float:
        s = self.settings
        due = s.r1 > 0 and step % s.r1_every == 0
        smooth = rows[: s.r1_images] if due else rows[:0]
        self.optimiser.zero_grad(set_to_none=True)
        if s.micro_batch is None:
            loss = self._logistic(rows, fake)
            value = float(loss.detach())
            (loss + s.r1_every * self._r1(smooth) if due else loss).backward()
        else:
            value, half = 0.0, s.micro_batch // 2 if self.pixels else len(rows)
            for k in range(0, len(rows), half):
                own = rows[k : k + half]
                loss = len(own) / len(rows) * self._logistic(own, (fake[0][k : k + half], fake[1][k : k + half]))
                loss.backward()
                value += float(loss.detach())
            for own in smooth.split(s.micro_batch) if due else ():
                (s.r1_every * len(own) / len(smooth) * self._r1(own)).backward()
        self.optimiser.step()
        if self.schedule is not None:
            self.schedule.step()
        return 0.5 * value / s.heads

    def _logistic(self, rows: Tensor, fake: Labelled) -> Tensor:
        """The logistic loss of real images against as many fakes, summed over heads; a scalar."""
        real, y = self.real[0][rows], self.real[1][rows]
        both = self._logits(torch.cat([real, fake[0]]), torch.cat([y, fake[1]]), self.noise)
        on_real, on_fake = both[:, : len(real)], both[:, len(real) :]
        softplus = torch.nn.functional.softplus
        # Heads share no weights: the sum over heads trains each as if alone.
        return (softplus(-on_real).mean(1) + softplus(on_fake).mean(1)).sum()

    def _r1(self, rows: Tensor) -> Tensor:
        """gamma/2 E|grad_x logit|^2 on real images, through the encoders; a scalar."""
        pixels = self.real_images[rows].detach().requires_grad_(True)
        logits = self.model.head(self.model.features(pixels), self.real[1][rows], self.noise).mean(0)
        (slope,) = torch.autograd.grad(logits.sum(), pixels, create_graph=True)
        return 0.5 * self.settings.r1 * slope.flatten(1).square().sum(1).mean()

    def _held_out(self) -> tuple[Tensor, Tensor]:
        """Mean logits of the held-out real and fake images."""
        at_once = ENCODE_BATCH if self.pixels else 2048
        with torch.no_grad():
            pairs = [
                torch.cat(
                    [
                        self._logits(x, y, None).mean(0)
                        for x, y in zip(images.split(at_once), labels.split(at_once), strict=True)
                    ]
                )
                for images, labels in (self.held_real, self.held_fake)
            ]
        return pairs[0], pairs[1]
