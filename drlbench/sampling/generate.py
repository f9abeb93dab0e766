"""Images from a model: every sample has its own seed, so it is the same whatever the batch size.

Shapes: n samples, B batch, C channels, H and W latent height and width, H' and W' image height and width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from drlbench.backbones.base import Backbone, VelocityModel, to_uint8
from drlbench.errors import Diverged, UserError
from drlbench.flow.memoryless import PathNoise
from drlbench.flow.ode import sampler as ode_sampler
from drlbench.flow.ode import time_grid
from drlbench.sampling.counts import STEPS
from drlbench.sampling.guidance import Autoguidance, ClassifierFree, Guidance
from drlbench.sampling.official import official_sample, procedure_of, to_uint8_official


def balanced_labels(n: int, num_classes: int) -> NDArray[np.int64]:
    """Labels (n,) in class order, every class equally often, up to one more for the first n mod num_classes."""
    return np.sort(np.arange(n, dtype=np.int64) % num_classes)


def random_labels(n: int, num_classes: int, seed: int) -> NDArray[np.int64]:
    """Labels (n,) drawn independently, as most authors' scripts do; the first k of n are those of k."""
    return np.random.default_rng(seed).integers(0, num_classes, n)


def initial_noise(model: VelocityModel, seeds: Sequence[int], device: str | torch.device = "cpu") -> Tensor:
    """Standard normal (B, C, H, W) float32, one draw per seed, made on the CPU so that every device gets the same."""
    return PathNoise(seeds, model.latent_shape).next().to(device)


def sample_latents(
    model: VelocityModel,
    labels: Tensor,
    seeds: Sequence[int],
    sampler: str = "heun",
    steps: int | None = None,
    guidance: Guidance | None = None,
    autocast: Literal["bfloat16"] | None = None,
) -> Tensor:
    """Final latents (B, C, H, W) float32 on the labels' device.

    Args:
        model: on the same device as `labels`.
        labels: (B,) int64.
        seeds: one per sample.
        sampler: "paper" (Heun in 50 steps), "heun" (2 steps - 1 evaluations), "euler", "dopri5" (its step sizes, and
            so the last digits, depend on the batch), or "official", the backbone's own procedure with its own
            counting of steps; "official:sde" takes another method than the one its authors take by default.
        steps: of the sampler; None takes 50, or the backbone's own number.
        guidance: None takes the labelled velocity as it is.
        autocast: compute the network in this type; the solver's state stays float32.

    Raises:
        UserError: an unknown sampler, or guidance the backbone's own procedure does not have.
    """
    device = labels.device
    context = torch.autocast(device.type, torch.bfloat16) if autocast else nullcontext()
    with torch.no_grad(), context:
        if is_official(sampler):
            return _official(model, labels, seeds, sampler.partition(":")[2] or None, steps, guidance).float()
        if sampler == "paper" and steps not in (None, STEPS):
            raise UserError(f"sampler 'paper' is Heun in {STEPS} steps; for {steps} take 'heun'")
        solve, grid = ode_sampler(sampler), time_grid(STEPS if steps is None else steps, model.time_shift)
        field = (guidance or ClassifierFree()).velocity(model)
        noise = model.noise_scale * initial_noise(model, seeds, device)
        return solve(lambda x, t: field(x, t, labels).float(), noise, grid)


def generate_batches(
    model: VelocityModel,
    labels: Sequence[int] | NDArray[np.int64],
    seeds: Sequence[int],
    sampler: str = "heun",
    steps: int | None = None,
    guidance: Guidance | None = None,
    batch_size: int = 250,
    device: str | torch.device = "cpu",
    autocast: Literal["bfloat16"] | None = None,
    progress: Callable[[float], None] | None = None,
) -> Iterator[NDArray[np.uint8]]:
    """uint8 batches (B, H', W', C) in order; arguments as for `generate`."""
    count = len(seeds)
    if len(labels) != count:
        raise UserError(f"{len(labels)} labels for {count} seeds; each sample has one of both")
    wrong = [int(y) for y in labels if not 0 <= int(y) <= model.null_class]
    if wrong:
        raise UserError(
            f"label {wrong[0]} is not a class of 0..{model.num_classes - 1} ({model.null_class} is no label)"
        )
    model = model.to(device).eval()
    y = torch.as_tensor(np.asarray(labels, dtype=np.int64), device=device)
    for start in range(0, count, batch_size):
        part = slice(start, min(start + batch_size, count))
        latents = sample_latents(model, y[part], seeds[part], sampler, steps, guidance, autocast)
        with torch.no_grad():
            images = model.decode(latents)
        _check_pixels(images, part.start)
        if is_official(sampler) and isinstance(model.net, Backbone):
            images = images * 2 - 1 if procedure_of(model.net).decodes_signed else images
            yield to_uint8_official(model.net, images).cpu().numpy()
        else:
            yield to_uint8(images).cpu().numpy()
        if progress is not None:
            progress(part.stop / count)


def generate(
    model: VelocityModel,
    labels: Sequence[int] | NDArray[np.int64],
    seeds: Sequence[int],
    sampler: str = "heun",
    steps: int | None = None,
    guidance: Guidance | None = None,
    batch_size: int = 250,
    device: str | torch.device = "cpu",
    autocast: Literal["bfloat16"] | None = None,
    progress: Callable[[float], None] | None = None,
) -> NDArray[np.uint8]:
    """Sample and decode images.

    Args:
        model: moved to `device` and put in eval mode.
        labels: (n,) class indices.
        seeds: (n,) one per sample; see `drlbench.seeds.sample_seeds`.
        sampler, steps, guidance, autocast: see `sample_latents`.
        batch_size: changes a sample's latents by rounding only (1e-5 in float32).
        progress: called with the fraction done.

    Returns:
        uint8 (n, H', W', C).

    Raises:
        UserError: labels and seeds differ in number, or a label is no class.
        Diverged: a sample holds NaN or infinity, which no uint8 could show.
    """
    batches = list(
        generate_batches(model, labels, seeds, sampler, steps, guidance, batch_size, device, autocast, progress)
    )
    if not batches:
        raise UserError("no samples were asked for: labels and seeds are empty")
    return np.concatenate(batches)


def _check_pixels(images: Tensor, first: int) -> None:
    bad = (~images.flatten(1).isfinite().all(1)).nonzero()[:, 0].tolist()
    if bad:
        raise Diverged(f"the pixels of sample {first + bad[0]} are not finite ({len(bad)} of {len(images)})")


def is_official(sampler: str) -> bool:
    """Whether a sampler's name stands for the backbone's own procedure."""
    return sampler.partition(":")[0] == "official"


def _official(
    model: VelocityModel,
    labels: Tensor,
    seeds: Sequence[int],
    method: str | None,
    steps: int | None,
    guidance: Guidance | None,
) -> Tensor:
    if not isinstance(model.net, Backbone):
        raise UserError("sampler 'official': this model's network has no procedure of its own; take 'heun'")
    procedure, weak = procedure_of(model.net), None
    if isinstance(guidance, Autoguidance):
        if not procedure.autoguidance or not isinstance(guidance.base.net, Backbone):
            raise UserError("sampler 'official': autoguidance is no part of this backbone's own procedure")
        weak, guidance = guidance.base.net, ClassifierFree(guidance.weight)
    guidance = guidance or ClassifierFree()
    whole = (guidance.low, guidance.high) == (0.0, 1.0)
    from_data = procedure.data_at == 0
    interval = (1 - guidance.high, 1 - guidance.low) if from_data else (guidance.low, guidance.high)
    draws = PathNoise(seeds, model.latent_shape)
    return official_sample(
        model.net,
        draws.next().to(labels.device),
        labels,
        method,
        steps,
        cfg_scale=guidance.scale,
        cfg_interval=None if whole else interval,
        sde_noise=lambda _: draws.next(),
        guide=weak,
    )
