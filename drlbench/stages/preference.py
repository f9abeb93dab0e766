"""Stage: a reward used as a metric: the mean score of a cell's samples."""

from __future__ import annotations

import torch

from drlbench import __version__
from drlbench.metrics.bootstrap import mean_replicates, measurement, resample_counts
from drlbench.stages import VERSIONS, Job
from drlbench.stages.files import load_encoders, load_reward, read_samples, write_measurements
from drlbench.stages.scores import sampler_name
from drlbench.training import to_float

BATCH = 256


def run(job: Job) -> None:
    """Score every sample and keep the mean with its interval."""
    name = job.settings["name"]
    images, labels = read_samples(job.inputs["samples"])
    reward = load_reward(job.inputs["reward"], load_encoders(job.inputs, job.device), job.device)
    scores = []
    with torch.no_grad():
        for start in range(0, len(images), BATCH):
            part = slice(start, start + BATCH)
            y = torch.from_numpy(labels[part]).to(job.device)
            scores.append(reward(to_float(images[part]).to(job.device), y).double().cpu())
            job.progress(min(1.0, (start + BATCH) / len(images)))
    values = torch.cat(scores).numpy()
    replicates = mean_replicates(values, resample_counts(len(values), job.settings["resamples"]))
    row = measurement(name, float(values.mean()), len(values), "higher", replicates)
    signature = (
        f"{name}|{reward.signature}|{sampler_name(job)}|n{len(values)}|drlbench{__version__}.{VERSIONS['preference']}"
    )
    write_measurements(job.out, [row], {name: signature})
