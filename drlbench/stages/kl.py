"""Stage: how far a fine-tuned model went from its base, the same way for every algorithm.

The KL divergence in nats, and how much longer the velocity became: the mean ratio of both velocities' norms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from drlbench.finetune.evaluations import rows
from drlbench.finetune.kl import ROWS_AT_ONCE, TIMES, kl_nats
from drlbench.metrics.base import Measurement
from drlbench.sampling.generate import balanced_labels, sample_latents
from drlbench.seeds import sample_seeds, seed_of
from drlbench.stages import KL_T_MAX, Job
from drlbench.stages.files import load_model, write_measurements

if TYPE_CHECKING:
    from drlbench.cost.stage import Stage
    from drlbench.cost.work import Work

BATCH = 500


def run(job: Job) -> None:
    """Estimate both on the model's own samples with fresh noise, the KL first; intervals are 1.96 standard errors."""
    s = job.settings
    model, base = (load_model(job.inputs[name], job.device) for name in ("model", "base"))
    y = torch.from_numpy(balanced_labels(s["n"], model.num_classes)).to(job.device)
    seeds = sample_seeds(s["sampling"]["seed"], s["n"])
    sampler, steps = s["sampling"]["sampler"], s["sampling"]["steps"]
    drawn = []
    for i in range(0, s["n"], BATCH):
        drawn.append(sample_latents(model, y[i : i + BATCH], seeds[i : i + BATCH], sampler, steps))
        job.progress(0.7 * min(1.0, (i + BATCH) / s["n"]))  # the estimate takes the rest
    found = kl_nats(model, base, torch.cat(drawn), y, seed_of("kl", s["sampling"]["seed"]), t_max=KL_T_MAX)
    half, n = 1.96 * found.standard_error, found.samples
    nats = Measurement("kl_nats", found.nats, found.nats - half, found.nats + half, n, "lower")
    ratio, half = found.norm_ratio, 1.96 * found.norm_ratio_error
    norms = Measurement("velocity_norm_ratio", ratio, ratio - half, ratio + half, n, "closer")
    write_measurements(job.out, [nats, norms])


def cost(of: Stage) -> Work:
    """Samples of the model, and both models at noised ones."""
    s, model, base = of.settings, of.model(), of.model("base")
    looked = rows(s["n"] * TIMES, ROWS_AT_ONCE)
    made = model.sampled(s["n"], s["sampling"], BATCH, decode=False)
    return (
        made + model.velocity.run(looked) + base.velocity.run(looked) + of.kept(device_memory=2 * base.velocity.bytes)
    )
