"""Stage: features of the real images, train and held-out, that every distance in this space is taken to."""

from __future__ import annotations

import numpy as np

from drlbench.data.sources import load_dataset
from drlbench.stages import Job
from drlbench.stages.files import encode, load_encoder


def run(job: Job) -> None:
    """Keep train (m, D) and held-out features with the held-out labels."""
    data = load_dataset(job.settings["data"])
    encoder = load_encoder(job.inputs["encoder"], job.device)
    np.savez(
        job.out / "reference.npz",
        train=encode(encoder, data.train_images, job.device),
        heldout=encode(encoder, data.heldout_images, job.device),
        heldout_labels=data.heldout_labels,
    )
