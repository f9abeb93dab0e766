"""Stage: features of a cell's samples in one space."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from drlbench.features.extract import extract
from drlbench.finetune.evaluations import rows
from drlbench.stages import Job
from drlbench.stages.files import load_encoder, read_samples, write_description

if TYPE_CHECKING:
    from drlbench.cost.stage import Stage
    from drlbench.cost.work import Work

BATCH = 250


def run(job: Job) -> None:
    """Keep features (n, D) float32."""
    encoder = load_encoder(job.inputs["encoder"], job.device)
    images, _ = read_samples(job.inputs["samples"])
    features = extract(encoder, images, BATCH, lambda done: job.progress(done / len(images)))
    np.savez(job.out / "features.npz", features=features)
    write_description(job.out, signature=encoder.signature)


def cost(of: Stage) -> Work:
    """Every sample through the encoder."""
    n, encoder = of.input("samples").images, of.encoder()
    disk = 4 * n * encoder.width
    return encoder.run(rows(n, BATCH)) + of.kept(disk=disk, memory=disk + n * of.pixels)
