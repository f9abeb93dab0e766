"""Stage: the base model, trained here by flow matching or brought from a checkpoint."""

from __future__ import annotations

from typing import Any

import torch

from drlbench import backbones
from drlbench.backbones.pretrain import pretrain
from drlbench.data.sources import load_dataset
from drlbench.stages import Job
from drlbench.stages.files import save_model, write_curve, write_description
from drlbench.store.keys import seed_of
from drlbench.training import seeded, to_float


def run(job: Job) -> None:
    """Build, train, keep."""
    spec: dict[str, Any] = job.settings["backbone"]
    data = load_dataset(job.settings["data"])
    seed = job.settings["seed"]
    with seeded(seed_of("base", "weights", seed)):
        net = backbones.create(spec["size"] or spec["family"], **spec["architecture"])
    model = backbones.wrap(net)
    with torch.no_grad():
        latents = model.encode(to_float(data.train_images))
    labels = torch.from_numpy(data.train_labels)
    log = pretrain(model, latents, labels, spec["pretrain"], seed_of("base", "training", seed))
    save_model(
        job.out,
        model,
        {"family": spec["size"] or spec["family"], "architecture": spec["architecture"], "autoencoder": spec["autoencoder"]},
    )
    write_curve(job.out, log)
    write_description(job.out, parameters=sum(p.numel() for p in model.net.parameters()), report=log.summary)
