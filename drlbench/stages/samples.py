"""Stage: images of one cell under one guidance, or (without a model) the held-out real ones.

Labels are balanced and in order; sample i has the same seed in every cell of every suite with the same `seed`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from drlbench.backbones.base import Autoencoder
from drlbench.data.sources import read_dataset
from drlbench.data.subset import evenly
from drlbench.metrics.signature import sampler_part
from drlbench.sampling.generate import balanced_labels, generate, random_labels
from drlbench.sampling.guidance import Autoguidance, ClassifierFree, Guidance
from drlbench.seeds import sample_seeds, seed_of
from drlbench.stages import Job
from drlbench.stages.files import load_model, write_description

if TYPE_CHECKING:
    from drlbench.cost.stage import Stage
    from drlbench.cost.work import Work

BATCH = 500
PACKED = 0.95  # of their size, images compressed; digits are half, photographs next to nothing less
TOLERANCE = 0.025  # of [0, 1]; closer than that to the range, a pixel is rounding, not oversaturation


class RangeRecorder(nn.Module):
    """An autoencoder that notes, per image, which share of its values leaves [0, 1] before they are clamped."""

    def __init__(self, inner: Autoencoder) -> None:
        super().__init__()
        self.inner = inner
        self.shares: list[Tensor] = []

    def encode(self, images: Tensor) -> Tensor:
        return self.inner.encode(images)

    def decode(self, latents: Tensor) -> Tensor:
        images = self.inner.decode(latents)
        outside = (images > 1 + TOLERANCE) | (images < -TOLERANCE)
        self.shares.append(outside.flatten(1).double().mean(1).cpu())
        return images


def run(job: Job) -> None:
    """Keep images (n, H, W, C) uint8, labels (n,) and the share of out-of-range values (n,) of each image."""
    s = job.settings
    if "model" not in job.inputs:
        data = read_dataset(s["data"])
        rows = evenly(data.heldout_labels, s.get("limit"))
        order = rows[np.argsort(data.heldout_labels[rows], kind="stable")]
        images = np.concatenate([data.heldout_images[order[i : i + BATCH]] for i in range(0, len(order), BATCH)])
        labels = data.heldout_labels[order]
        np.savez_compressed(job.out / "samples.npz", images=images, labels=labels, outside=np.zeros(len(images)))
        write_description(job.out, sampler="data")
        return
    model = load_model(job.inputs["model"], job.device)
    half = s.get("precision") == "bf16"
    recorder = model.autoencoder = RangeRecorder(model.autoencoder)
    draw = random_labels if s.get("labels") == "random" else lambda n, classes, seed: balanced_labels(n, classes)
    labels = draw(s["n"], model.num_classes, seed_of("labels", s["seed"]))
    guidance: Guidance = ClassifierFree(s["cfg"], s["low"], s["high"])
    if "guide" in job.inputs:
        guidance = Autoguidance(load_model(job.inputs["guide"], job.device), s["cfg"])
    images = generate(
        model,
        labels,
        sample_seeds(s["seed"], s["n"]),
        sampler=s["sampler"],
        steps=s["steps"],
        guidance=guidance,
        batch_size=BATCH,
        autocast="bfloat16" if half else None,
        device=job.device,
        progress=job.progress,
    )
    outside = torch.cat(recorder.shares).numpy()
    np.savez_compressed(job.out / "samples.npz", images=images, labels=labels, outside=outside)
    write_description(job.out, sampler=sampler_part(s))


def cost(of: Stage) -> Work:
    """The sampler and the decoder; held-out images are read."""
    s, n = of.settings, of.images
    kept = of.kept(disk=n * of.pixels * PACKED, memory=2 * n * of.pixels)
    if "n" not in s:
        return of.reading(n) + kept
    model = of.model(precision=s.get("precision", "fp32"))
    guides = 2 if "guide" in of.node.inputs else 1
    return model.sampled(n, s, BATCH) + model.sampled(n, s, BATCH, decode=False).times(guides - 1) + kept
