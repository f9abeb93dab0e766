"""Stage: features of the real images, train and held-out, that every distance in this space is taken to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from drlbench.data.lazy import LazyImages
from drlbench.data.sources import EAGER_BYTES, read_dataset
from drlbench.data.subset import evenly
from drlbench.features.extract import extract, extract_all
from drlbench.finetune.evaluations import rows as passes
from drlbench.stages import Job
from drlbench.stages.files import load_encoder

if TYPE_CHECKING:
    from drlbench.cost.stage import Stage
    from drlbench.cost.work import Work

BATCH = 250
MOMENTS = "train.safetensors"


def run(job: Job) -> None:
    """Keep train (m, D) and held-out features with the held-out labels, of all images or of `limit` of each.

    Of train images that do not fit into memory only the float64 moments are kept, which is all that is asked of them.
    """
    data = read_dataset(job.settings["data"])
    encoder = load_encoder(job.inputs["encoder"], job.device)
    kept = {}
    limit = job.settings.get("limit")
    train, rows = evenly(data.train_labels, limit), evenly(data.heldout_labels, limit)
    total = len(train) + len(rows)
    tell = lambda done: job.progress(done / total)  # noqa: E731 - train images first, the held-out ones after them
    if len(train) < len(data.train_images):
        kept["train"] = extract(encoder, np.asarray(data.train_images[train]), BATCH, tell)
    elif isinstance(data.train_images, LazyImages):
        found = extract_all(
            data.train_images.batches(BATCH),
            {"space": encoder},
            keep="moments",
            batch_size=BATCH,
            progress=tell,
        )
        found.moments["space"].save(job.out / MOMENTS)
    else:
        kept["train"] = extract(encoder, data.train_images, BATCH, tell)
    images: Any = data.heldout_images
    if len(rows) < len(images):
        images = np.asarray(images[rows])
    batches = images.batches(BATCH) if isinstance(images, LazyImages) else images
    heldout = extract(encoder, batches, BATCH, lambda done: tell(len(train) + done))
    # numpy's stub reads any ** as the flag allow_pickle.
    labels = data.heldout_labels[rows]
    np.savez(job.out / "reference.npz", heldout=heldout, heldout_labels=labels, **kept)  # type: ignore[arg-type] # the stub again


def cost(of: Stage) -> Work:
    """Every image through the encoder; features that fit into memory are kept."""
    train, heldout = of.reals()
    images, encoder = train + heldout, of.encoder()
    kept = images if train * of.pixels <= EAGER_BYTES else heldout
    return of.reading(images) + encoder.run(passes(images, BATCH)) + of.kept(disk=4 * kept * encoder.width)
