"""Stage: a frozen representation, trained here on the train split or brought from its checkpoint."""

from __future__ import annotations

from drlbench.data.sources import load_dataset
from drlbench.encoders.small import SmallEncoder
from drlbench.registry import ENCODERS
from drlbench.stages import Job
from drlbench.stages.files import CONFIG, write_curve, write_description
from drlbench.store import atomic


def run(job: Job) -> None:
    """Train or load the encoder; keep it, its training curve and what it is."""
    settings = job.settings
    kind = ENCODERS.get(settings["kind"])
    if hasattr(kind, "fit"):
        data = load_dataset(settings["data"])
        where = {"device": job.device} if issubclass(kind, SmallEncoder) else {}
        encoder, log = kind.fit(data.train_images, data.train_labels, settings["settings"], settings["seed"], **where)
        encoder.save(job.out)
        write_curve(job.out, log)
        summary = log.summary
    else:
        encoder, summary = kind(**settings["settings"]), {}
        if hasattr(encoder, "save"):
            encoder.save(job.out)
        else:
            atomic.write_json(job.out / CONFIG, {"kind": settings["kind"], "settings": settings["settings"]})
    write_description(job.out, dim=encoder.dim, signature=encoder.signature, report=summary)
