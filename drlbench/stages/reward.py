"""Stage: a reward: a discriminator fitted against a model's samples, one trained on pairs, or a published one.

A discriminator stops early and is calibrated on a part of the train split; the held-out images only measure.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from drlbench.data.dataset import Dataset, split_by_content
from drlbench.data.lazy import LazyImages
from drlbench.data.pairs import load_pairs
from drlbench.data.sources import EAGER_BYTES, read_dataset
from drlbench.data.synthetic_annotator import synthetic_pairs
from drlbench.data.synthetic_taste import taste_pairs
from drlbench.errors import UserError
from drlbench.finetune.evaluations import rows
from drlbench.registry import REWARDS
from drlbench.rewards.base import Reward
from drlbench.rewards.bradley_terry import SYNTHETIC, TASTE, BradleyTerry, BradleyTerrySettings
from drlbench.rewards.discriminator_fit import ENCODE_BATCH, fit_discriminator
from drlbench.sampling.generate import balanced_labels, generate, generate_batches
from drlbench.seeds import sample_seeds, seed_of
from drlbench.stages import Job
from drlbench.stages.files import CONFIG, load_encoders, load_model, write_curve, write_description
from drlbench.stages.pixels import StoredPixels, keep_on_disk
from drlbench.store import atomic
from drlbench.training import TrainingLog, to_float

if TYPE_CHECKING:
    from drlbench.cost.stage import Stage
    from drlbench.cost.work import Work

VALIDATION = 0.15  # share of real train images and of samples that a discriminator is stopped and calibrated on

Labelled = tuple[Tensor, Tensor]


def run(job: Job) -> None:
    """Fit or name the reward; keep it, its curves and what it reports of itself."""
    s = job.settings
    make = {"discriminator": _discriminator, "bradley-terry": _bradley_terry}.get(s["kind"], _published)
    reward, log = make(job)
    config = {"kind": s["kind"], "name": s["name"], "encoders": list(s["encoders"]), "settings": s["settings"]}
    atomic.put_json(job.out / CONFIG, config)
    reward.save(job.out)
    write_curve(job.out, log)
    write_description(job.out, signature=reward.signature, report=log.summary)


def _published(job: Job) -> tuple[Reward, TrainingLog]:
    """A reward that needs no fitting here: a published checkpoint or a plug-in's rule."""
    kind: type[Reward] = REWARDS.get(job.settings["kind"])
    name = {"name": job.settings["name"]} if kind.named_by_suite else {}
    return kind(**name, **job.settings["settings"]), TrainingLog()


def _bradley_terry(job: Job) -> tuple[Reward, TrainingLog]:
    s, data = job.settings, read_dataset(job.settings["data"])
    source = s["settings"].get("pairs", SYNTHETIC)
    annotators = {SYNTHETIC: synthetic_pairs, TASTE: taste_pairs}
    if source in annotators:
        count = s["settings"].get("count", BradleyTerrySettings.model_fields["count"].default)
        pairs = annotators[source](data, count, seed_of("pairs", s["seed"]))
    else:
        pairs = load_pairs(Path(source))
    return BradleyTerry.fit(s["name"], pairs, data.num_classes, s["settings"], s["seed"], job.progress)


def _discriminator(job: Job) -> tuple[Reward, TrainingLog]:
    s, data = job.settings, read_dataset(job.settings["data"])
    encoders = load_encoders(job.inputs, job.device)
    real, held_real = _real(data, job.device)
    fake, held_fake = _fake(job, s, data.num_classes)
    reward = fit_discriminator(
        [encoders[name] for name in s["encoders"]],
        real,
        fake,
        held_real,
        held_fake,
        data.num_classes,
        s["settings"],
        s["seed"],
        progress=lambda done: job.progress((1 + done) / 2),  # the first half are the fakes
    )
    curve = reward.report["curve"]
    series = {name: [row[name] for row in curve] for name in ("train", "held_out")}
    summary = {name: float(value) for name, value in reward.report.items() if isinstance(value, int | float)}
    return reward, TrainingLog([row["step"] for row in curve], series, summary)


def _real(data: Dataset, device: str) -> tuple[Labelled, Labelled]:
    """Train images for fitting and for validation, split by content within each class."""
    # Where classes are too small for a share of each, the share is one of all images.
    strata = data.train_labels
    if round(np.unique(strata, return_counts=True)[1].min() * VALIDATION) < 1:
        strata = np.zeros_like(strata)
    fit, check = split_by_content(data.train_images, strata, VALIDATION)
    if isinstance(data.train_images, LazyImages):
        return _stored(data.train_images, data.train_labels, fit, device), _stored(
            data.train_images, data.train_labels, check, device
        )
    images = to_float(data.train_images).to(device)
    labels = torch.from_numpy(data.train_labels).to(device)
    return (images[fit], labels[fit]), (images[check], labels[check])


def _fake(job: Job, s: Mapping[str, Any], classes: int) -> tuple[Labelled, Labelled]:
    """Samples of the model, every class equally often, for fitting and for validation."""
    model = load_model(job.inputs["model"], job.device)
    if model.num_classes != classes:
        raise UserError(
            f"the model has {model.num_classes} classes and the data have {classes}; a discriminator compares images "
            "class by class, so both need the same ones"
        )
    labels = balanced_labels(s["fakes"], model.num_classes)
    seeds = sample_seeds(seed_of("fakes", s["seed"]), len(labels))
    # Every k-th sample: labels are in class order, so that takes the same share of each class.
    check = np.arange(len(labels)) % round(1 / VALIDATION) == 0
    progress = lambda x: job.progress(x / 2)  # noqa: E731 - the other half is the fit
    options: dict[str, Any] = {
        "sampler": s["sampler"],
        "steps": s["fake_steps"],
        "device": job.device,
        "progress": progress,
    }
    with torch.no_grad():
        pixels = model.decode(torch.zeros(1, *model.latent_shape, device=job.device)).numel()
    if len(labels) * pixels > EAGER_BYTES:
        kept = keep_on_disk(generate_batches(model, labels, seeds, **options), len(labels), job.partial / "fakes.npy")
        return _stored(kept, labels, np.flatnonzero(~check), job.device), _stored(
            kept, labels, np.flatnonzero(check), job.device
        )
    pictures = generate(model, labels, seeds, **options)
    images, y = to_float(pictures).to(job.device), torch.from_numpy(labels).to(job.device)
    return (images[~check], y[~check]), (images[check], y[check])


def _stored(images: Any, labels: NDArray[np.int64], rows: NDArray[np.int64], device: str) -> Labelled:
    """Images that stay where they are, behind the face of a tensor, with the labels of these rows."""
    return cast(Tensor, StoredPixels(images, rows, device)), torch.from_numpy(labels[rows]).to(device)


def cost(of: Stage) -> Work:
    """A discriminator's samples, their features and the steps of its fit; the training on pairs; nothing else."""
    s, kind = of.settings, of.settings["kind"]
    own: dict[str, Any] = s["settings"]
    if kind == "bradley-terry":
        return of.preference_training()
    if kind != "discriminator":
        return of.kept()
    model, images = of.model(), of.counts[0] + s["fakes"]
    made = model.sampled(s["fakes"], {"sampler": s["sampler"], "steps": s["fake_steps"]}, 250)
    plain, smooth = of.discriminator_step()
    fit = plain.times(own["steps"]) + smooth.times(own["steps"] // own["r1_every"])
    # Under frozen encoders features are made once; where encoders are trained, every validation makes them again.
    checks = 2 + own["steps"] // own["validate_every"] if own["encoder_learning_rate"] is not None else 0
    draws = own["noise_draws"] if own["noise"] else 1  # of which a fit sees one an image
    seen = rows((images + checks * VALIDATION * images) / draws, ENCODE_BATCH)
    return of.reading(of.counts[0]) + made + of.own_reward().run(seen) + fit + of.kept(disk=of.own_reward().bytes)
