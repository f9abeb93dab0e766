"""Stage: features of the real images, train and held-out, that every distance in this space is taken to."""

from __future__ import annotations

import numpy as np

from drlbench.data.sources import load_dataset
from drlbench.features.extract import extract
from drlbench.stages import Job
from drlbench.stages.files import load_encoder

BATCH = 250


def run(job: Job) -> None:
    """Keep train (m, D) and held-out features with the held-out labels."""
    data = load_dataset(job.settings["data"])
    encoder = load_encoder(job.inputs["encoder"], job.device)
    np.savez(
        job.out / "reference.npz",
        train=extract(encoder, data.train_images, BATCH),
        heldout=extract(encoder, data.heldout_images, BATCH),
        heldout_labels=data.heldout_labels,
    )
