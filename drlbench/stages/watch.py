"""What a fine-tune is watched by: held-out rewards, distances and the KL on a small sample with fixed seeds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from drlbench.backbones.base import VelocityModel
from drlbench.encoders.base import Encoder
from drlbench.features.extract import extract
from drlbench.features.moments import Moments
from drlbench.finetune.evaluations import rows
from drlbench.finetune.heldout import Better
from drlbench.finetune.kl import ROWS_AT_ONCE, TIMES, kl_nats
from drlbench.metrics.frechet import FrechetDistance, Gaussian, frechet_distance
from drlbench.rewards.base import Reward
from drlbench.rewards.scoring import score_images
from drlbench.sampling.generate import balanced_labels, generate, sample_latents
from drlbench.seeds import sample_seeds, seed_of
from drlbench.stages import KL_T_MAX, Job
from drlbench.stages.files import load_encoders, load_model, load_reward
from drlbench.stages.reference import MOMENTS

if TYPE_CHECKING:
    from drlbench.cost.model import Model
    from drlbench.cost.stage import Stage
    from drlbench.cost.work import Work

BATCH = 250
KL_SAMPLES = 200  # at most; the estimate is sharp next to an FD of as many


class HeldOut:
    """Measures a model as the job's `watch` says.

    Attributes:
        better: name of each measure -> "higher" or "lower"; `fd/<space>` for distances, a reward's own name. The KL
            from the model that the fine-tune starts from, `kl_nats`, is neither: it is what the others are paid with.
    """

    def __init__(self, job: Job) -> None:
        self.watch, self.device = job.settings["watch"], job.device
        encoders = load_encoders(job.inputs, job.device)
        self.start = load_model(job.inputs["start"], job.device)
        self.rewards: dict[str, Reward] = {
            name: load_reward(job.inputs[f"held-out:{name}"], encoders, job.device) for name in self.watch["rewards"]
        }
        self.spaces: dict[str, Encoder] = {name: encoders[name] for name in self.watch["spaces"]}
        self.references = {name: real_images(job, name) for name in self.spaces}
        self.better: dict[str, Better] = {name: "higher" for name in self.rewards}
        self.better |= {f"fd/{name}": "lower" for name in self.spaces}

    def __call__(self, model: VelocityModel) -> dict[str, tuple[float, float]]:
        """Every measure's value and standard error over the samples; the seeds are the same at every call."""
        w = self.watch
        labels = balanced_labels(w["n"], model.num_classes)
        images = generate(
            model,
            labels,
            sample_seeds(w["seed"], w["n"]),
            sampler=w["sampler"],
            steps=w["steps"],
            batch_size=BATCH,
            device=self.device,
        )
        found = {}
        for name, reward in self.rewards.items():
            values = score_images(reward, images, labels, BATCH, self.device)
            found[name] = float(values.mean()), float(values.std(ddof=1)) / len(values) ** 0.5
        for name, encoder in self.spaces.items():
            distance = frechet_distance(extract(encoder, images, BATCH), self.references[name])
            assert distance.replicates is not None
            found[f"fd/{name}"] = distance.value, float(distance.replicates.std())
        found["kl_nats"] = self._kl(model)
        return found

    def _kl(self, model: VelocityModel) -> tuple[float, float]:
        """As the stage `kl` estimates it, on fewer samples."""
        w = self.watch
        y = torch.from_numpy(balanced_labels(min(w["n"], KL_SAMPLES), model.num_classes)).to(self.device)
        latents = sample_latents(model, y, sample_seeds(w["seed"], len(y)), w["sampler"], w["steps"])
        found = kl_nats(model, self.start, latents, y, seed_of("kl", w["seed"]), t_max=KL_T_MAX)
        return found.nats, found.standard_error


def real_images(job: Job, space: str) -> Gaussian:
    """Mean and covariance of the train images' features in a space."""
    folder = job.inputs[f"reference:{space}"]
    with np.load(folder / "reference.npz", allow_pickle=False) as real:
        return Gaussian.of(real["train"] if "train" in real else Moments.load(folder / MOMENTS), "reference")


def watching(of: Stage, model: Model) -> Work:
    """One look at a fine-tune's held-out measures."""
    w = of.settings["watch"]
    n, few = w["n"], min(w["n"], KL_SAMPLES)
    work = model.sampled(n, w, BATCH) + model.sampled(few, w, few, decode=False)
    work += model.velocity.run(rows(few * TIMES, ROWS_AT_ONCE).times(2))
    judges = [of.reward(f"held-out:{name}") for name in w["rewards"]]
    judges += [of.encoder(f"encoder:{name}") for name in w["spaces"]]
    for judge in judges:
        work += judge.run(rows(n, BATCH))
    widths = [of.encoder(f"encoder:{name}").width for name in w["spaces"]]
    return work + of.host(sum(FrechetDistance.operations(n, 0, 0, width, 200) for width in widths))
