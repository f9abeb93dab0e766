"""Stage: a reward used as a metric: the mean score of a cell's samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drlbench.finetune.evaluations import rows
from drlbench.metrics.bootstrap import resample_counts
from drlbench.metrics.preference import mean_score
from drlbench.rewards.scoring import score_images
from drlbench.stages import Job
from drlbench.stages.files import load_encoders, load_reward, read_samples, write_measurements

if TYPE_CHECKING:
    from drlbench.cost.stage import Stage
    from drlbench.cost.work import Work

BATCH = 256


def run(job: Job) -> None:
    """Score every sample and keep the mean with its interval; details: standard_deviation over samples (n - 1)."""
    name = job.settings["name"]
    images, labels = read_samples(job.inputs["samples"])
    reward = load_reward(job.inputs["reward"], load_encoders(job.inputs, job.device), job.device)
    values = score_images(reward, images, labels, BATCH, job.device, job.progress)
    row = mean_score(name, values, resample_counts(len(values), job.settings["resamples"]))
    write_measurements(job.out, [row])


def cost(of: Stage) -> Work:
    """Every sample through the reward."""
    n = of.input("samples").images
    return of.reward().run(rows(n, BATCH)) + of.kept(memory=n * of.pixels)
