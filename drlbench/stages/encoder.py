"""Stage: a frozen representation, trained here on the train split or brought from its checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drlbench.data.sources import read_dataset
from drlbench.encoders.base import Encoder
from drlbench.finetune.evaluations import rows
from drlbench.registry import ENCODERS
from drlbench.stages import Job
from drlbench.stages.files import CONFIG, write_curve, write_description
from drlbench.store import atomic
from drlbench.training import weights_sha256

if TYPE_CHECKING:
    from drlbench.cost.stage import Stage
    from drlbench.cost.work import Work


def run(job: Job) -> None:
    """Train or load the encoder; keep it, its training curve and what it is."""
    settings = job.settings
    kind: type[Encoder] = ENCODERS.get(settings["kind"])
    summary: dict[str, float] = {}
    if kind.fitted:
        data = read_dataset(settings["data"])
        encoder, log = kind.fit(
            data.train_images, data.train_labels, settings["settings"], settings["seed"], job.device, job.progress
        )
        write_curve(job.out, log)
        summary = log.summary
    else:
        encoder = kind(**settings["settings"])
    atomic.put_json(job.out / CONFIG, {"kind": settings["kind"], "settings": settings["settings"]})
    encoder.save(job.out)
    signature = encoder.signature
    if kind.fitted and (weights := weights_sha256(encoder)) not in signature:
        signature += f":{weights}"  # two machines fit two networks, and no plug-in needs to remember it
    write_description(job.out, dim=encoder.dim, signature=signature, report=summary, learned_from=kind.learned_from)


def cost(of: Stage) -> Work:
    """The training, and a pass over its images that settles the scale; a published one is read and named."""
    if not ENCODERS.get(of.settings["kind"]).fitted:
        return of.kept()
    images, own = of.counts[0], of.own_encoder()
    return of.reading(images) + of.encoder_training() + own.run(rows(images, 512)) + of.kept(disk=own.bytes)
