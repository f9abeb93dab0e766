"""Stage: features of a cell's samples in one space."""

from __future__ import annotations

import numpy as np

from drlbench.features.extract import extract
from drlbench.stages import Job
from drlbench.stages.files import load_encoder, read_samples, write_description

BATCH = 250


def run(job: Job) -> None:
    """Keep features (n, D) float32."""
    encoder = load_encoder(job.inputs["encoder"], job.device)
    images, _ = read_samples(job.inputs["samples"])
    np.savez(job.out / "features.npz", features=extract(encoder, images, BATCH))
    write_description(job.out, signature=encoder.signature)
