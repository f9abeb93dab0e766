"""Stage: a reward: a discriminator fitted against a model's samples, one trained on pairs, or a published one.

A discriminator stops early and is calibrated on a part of the train split; the held-out images only measure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from drlbench.data.dataset import Dataset, split_by_content
from drlbench.data.sources import load_dataset
from drlbench.registry import REWARDS
from drlbench.rewards.discriminator_fit import fit_discriminator
from drlbench.sampling.generate import balanced_labels, generate, sample_seeds
from drlbench.stages import Job
from drlbench.stages.files import CONFIG, load_encoders, load_model, write_description
from drlbench.store import atomic
from drlbench.store.keys import seed_of
from drlbench.training import to_float

VALIDATION = 0.15  # share of real train images and of samples that a discriminator is stopped and calibrated on

Labelled = tuple[Tensor, Tensor]


def run(job: Job) -> None:
    """Fit or name the reward; keep it, its curves and what it reports of itself."""
    s = job.settings
    config = {"kind": s["kind"], "name": s["name"], "encoders": list(s["encoders"]), "settings": s["settings"]}
    curve: dict[str, Any] = {"step": [], "series": {}, "summary": {}}
    if s["kind"] == "discriminator":
        reward = _discriminator(job)
        reward.save(job.out)
        report = dict(reward.report)
        rows = report.pop("curve")
        curve = {
            "step": [row["step"] for row in rows],
            "series": {name: [row[name] for row in rows] for name in ("train", "held_out")},
            "summary": {name: value for name, value in report.items() if isinstance(value, int | float)},
        }
    else:
        reward = REWARDS.get(s["kind"])(name=s["name"], **s["settings"])
        report = {}
    atomic.write_json(job.out / CONFIG, config)
    atomic.write_json(job.out / "curve.json", curve)
    write_description(job.out, signature=reward.signature, report=report)


def _discriminator(job: Job) -> Any:
    s, data = job.settings, load_dataset(job.settings["data"])
    encoders = load_encoders(job.inputs, job.device)
    real, held_real = _real(data, job.device)
    fake, held_fake = _fake(job, s)
    return fit_discriminator(
        [encoders[name] for name in s["encoders"]],
        real,
        fake,
        held_real,
        held_fake,
        data.num_classes,
        s["settings"],
        s["seed"],
    )


def _real(data: Dataset, device: str) -> tuple[Labelled, Labelled]:
    """Train images for fitting and for validation, split by content within each class."""
    fit, check = split_by_content(data.train_images, data.train_labels, VALIDATION)
    images = to_float(data.train_images).to(device)
    labels = torch.from_numpy(data.train_labels).to(device)
    return (images[fit], labels[fit]), (images[check], labels[check])


def _fake(job: Job, s: Mapping[str, Any]) -> tuple[Labelled, Labelled]:
    """Samples of the model, every class equally often, for fitting and for validation."""
    model = load_model(job.inputs["model"], job.device)
    labels = balanced_labels(s["fakes"], model.num_classes)
    seeds = sample_seeds(seed_of("fakes", s["seed"]), len(labels))
    pictures = generate(
        model, labels, seeds, sampler=s["sampler"], steps=s["fake_steps"], device=job.device, progress=lambda x: job.progress(x / 2)
    )
    images, y = to_float(pictures).to(job.device), torch.from_numpy(labels).to(job.device)
    # Every k-th sample: labels are in class order, so that takes the same share of each class.
    check = np.arange(len(labels)) % round(1 / VALIDATION) == 0
    return (images[~check], y[~check]), (images[check], y[check])
