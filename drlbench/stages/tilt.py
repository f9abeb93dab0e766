"""Stage: the exact optimum of a reward at every lambda of a run, from weighted samples of the model it starts from.

No RL: one pool of samples serves all lambdas. Rows carry the lambda and the space they belong to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from drlbench.data.sources import read_dataset
from drlbench.features.moments import Moments
from drlbench.finetune.evaluations import rows as passes
from drlbench.metrics.base import Evidence, Measurement
from drlbench.metrics.bootstrap import resample_counts
from drlbench.metrics.tilt import DRAWS, Tilt
from drlbench.registry import METRICS
from drlbench.rewards.scoring import score_images
from drlbench.seeds import seed_of
from drlbench.stages import Job
from drlbench.stages.files import load_encoders, load_reward, measurement_row, read_samples
from drlbench.stages.reference import MOMENTS
from drlbench.store import atomic

if TYPE_CHECKING:
    from drlbench.cost.stage import Stage
    from drlbench.cost.work import Work

BATCH = 256
PREFIX = "tilt_"


def run(job: Job) -> None:
    """Keep rows.json: every measure of the tilt at every lambda, and the start's own objective."""
    s = job.settings
    images, labels = read_samples(job.inputs["samples"])
    encoders = load_encoders(job.inputs, job.device)
    names = [name.partition(":")[2] for name in job.inputs if name.startswith("reward:")]
    scores = {
        name: score_images(
            load_reward(job.inputs[f"reward:{name}"], encoders, job.device), images, labels, BATCH, job.device
        )
        for name in names
    }
    fixed = sum((weight * scores[name] for name, weight in s["fixed"].items()), np.zeros(len(labels)))
    counts = resample_counts(len(labels), s["resamples"])
    rows = []
    for number, weight in enumerate(s["lambdas"]):
        tilt = Tilt.of(fixed + weight * scores[s["varied"]], labels)
        found = [("", m) for m in tilt.objective(counts)]
        start = Tilt.of(np.zeros(len(labels)), labels).mean(f"{PREFIX}start", tilt.log_weights, counts)
        found.append(("", start))
        if tilt.usable:
            found += [("", tilt.mean(f"{PREFIX}{name}", values, counts)) for name, values in scores.items()]
            for space in s["spaces"]:
                found += [(space, m) for m in _in_space(job, tilt, space, counts, labels)]
        rows += [{**measurement_row(m), "lambda": weight, "space": space} for space, m in found]
        job.progress((number + 1) / len(s["lambdas"]))
    atomic.put_json(job.out / "rows.json", rows)


def _in_space(job: Job, tilt: Tilt, space: str, counts: np.ndarray, labels: np.ndarray) -> list[Measurement]:
    """FD from the weights; the suite's other distances from as many samples as a cell has, drawn by the weights."""
    s = job.settings
    with np.load(job.inputs[f"features:{space}"] / "features.npz", allow_pickle=False) as own:
        features = own["features"]
    folder = job.inputs[f"reference:{space}"]
    with np.load(folder / "reference.npz", allow_pickle=False) as real:
        train = real["train"] if "train" in real else Moments.load(folder / MOMENTS)
        held_out, held_out_labels = real["heldout"], real["heldout_labels"]
    found = [
        tilt.frechet(f"{PREFIX}fd", features, train, counts),
        tilt.frechet(f"{PREFIX}fd_val", features, held_out, counts),
        tilt.gain(f"{PREFIX}fd_gain", features, train, counts, seed_of("tilt start", space)),
    ]
    drawn = tilt.draw(s["draw"], seed_of("tilt", space))
    evidence = Evidence(
        counts=resample_counts(len(drawn), s["resamples"]),
        features=features[drawn],
        labels=labels[drawn],
        reference=train,
        reference_val=held_out,
        reference_val_labels=held_out_labels,
        num_classes=read_dataset(s["data"]).num_classes,
    )
    for name in s["metrics"]:
        measured = METRICS.get(name)().measure(evidence)
        found += [_renamed(m, tilt) for m in measured]
    return found


def _renamed(m: Measurement, tilt: Tilt) -> Measurement:
    return Measurement(
        f"{PREFIX}{m.metric}", m.value, m.low, m.high, m.n, m.better, None, (*m.notes, *tilt.notes()), m.details
    )


def cost(of: Stage) -> Work:
    """Every sample through every reward once, and the metrics of a cell at every lambda."""
    s, n = of.settings, of.input("samples").images
    work = of.kept(memory=n * of.pixels)
    for name in of.node.inputs:
        if name.startswith("reward:"):
            work += of.reward(name).run(passes(n, BATCH))
    for space in s["spaces"]:
        train, heldout = of.input(f"reference:{space}").reals()
        width = of.input(f"features:{space}").encoder().width
        # FD is of all samples to both sets of real images. Its gain: the same again, the start's, and every draw's.
        flops = sum(Tilt.operations(n, real, width) for real in (train, heldout))
        flops += (2 + DRAWS) * Tilt.operations(n, train, width)
        # The suite's other distances are of as many samples as a cell has.
        for name in s["metrics"]:
            flops += METRICS.get(name).operations(s["draw"], train, heldout, width, s["resamples"])
        work += of.host(flops * len(s["lambdas"]))
    return work
