"""Stage: the numbers of one cell in one space, or (without a space) of its images themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from drlbench.data.lazy import LazyImages
from drlbench.data.sources import read_dataset
from drlbench.features.moments import Moments
from drlbench.metrics.base import Evidence, Measurement
from drlbench.metrics.bootstrap import of_mean, resample_counts
from drlbench.metrics.statistics import subset_statistics
from drlbench.registry import METRICS
from drlbench.stages import Job
from drlbench.stages.files import read_samples, write_measurements
from drlbench.stages.reference import MOMENTS

if TYPE_CHECKING:
    from drlbench.cost.stage import Stage
    from drlbench.cost.work import Work


def run(job: Job) -> None:
    """Measure every metric of the settings and keep rows and replicates."""
    images, labels = read_samples(job.inputs["samples"])
    data = read_dataset(job.settings["data"])
    evidence = Evidence(
        counts=resample_counts(len(images), job.settings["resamples"]),
        images=images,
        labels=labels,
        # Lazy images would be decoded anew for every cell; the `data` row holds their statistics anyway.
        reference_images=None if isinstance(data.heldout_images, LazyImages) else data.heldout_images,
        num_classes=data.num_classes,
    )
    if "features" in job.inputs:
        with np.load(job.inputs["features"] / "features.npz", allow_pickle=False) as own:
            features = own["features"]
        with np.load(job.inputs["reference"] / "reference.npz", allow_pickle=False) as real:
            evidence = Evidence(
                counts=evidence.counts,
                images=images,
                labels=labels,
                num_classes=data.num_classes,
                features=features,
                reference=real["train"] if "train" in real else Moments.load(job.inputs["reference"] / MOMENTS),
                reference_val=real["heldout"],
                reference_val_labels=real["heldout_labels"],
            )
    measured: list[Measurement] = []
    names = job.settings["metrics"]
    for number, name in enumerate(names, 1):
        measured += METRICS.get(name)().measure(evidence)
        job.progress(number / len(names))
    if "stats" in job.settings["metrics"]:
        measured.append(_out_of_range(job, evidence))
    if per_class := job.settings.get("stats_per_class"):
        measured += subset_statistics(images, labels, per_class, data.num_classes, job.settings["resamples"])
    write_measurements(job.out, measured)


def _out_of_range(job: Job, evidence: Evidence) -> Measurement:
    """Mean share of values that left [0, 1] before they were clamped: oversaturation, seen before it is cut off."""
    with np.load(job.inputs["samples"] / "samples.npz", allow_pickle=False) as data:
        outside = data["outside"]  # (n,)
    return of_mean("out_of_range", outside.astype(np.float64), evidence.counts, "lower")


def cost(of: Stage) -> Work:
    """What each metric does on the CPU; the images of encoded data are read for their number and labels only."""
    s, n = of.settings, of.input("samples").images
    width = of.input("features").encoder().width if "features" in of.node.inputs else of.pixels
    train, heldout = of.input("reference").reals() if "reference" in of.node.inputs else of.counts
    flops = sum(METRICS.get(name).operations(n, train, heldout, width, s["resamples"]) for name in s["metrics"])
    return of.host(flops) + of.kept(disk=8 * s["resamples"] * len(s["metrics"]), memory=8 * (n + heldout) * width)
