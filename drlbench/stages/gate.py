"""Stage: the base gate: before any RL, the base model's FD must be the one that was published for it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from drlbench.backbones.protocols import REFERENCES
from drlbench.errors import UserError
from drlbench.features.reference import read_reference
from drlbench.metrics.frechet import FrechetDistance, frechet_distance
from drlbench.metrics.signature import make_signature
from drlbench.stages import Job
from drlbench.store import atomic
from drlbench.weights.files import resolve

if TYPE_CHECKING:
    from drlbench.cost.stage import Stage
    from drlbench.cost.work import Work


def run(job: Job) -> None:
    """Compare, and keep what was compared.

    Raises:
        UserError: the FD is further off than the tolerance; nothing that waits for the gate is started.
    """
    s = job.settings
    measured = _as_published(job) if "features" in job.inputs else _of_the_suite(job)
    off = abs(measured["value"] - s["fd"]) / s["fd"]
    if not off <= s["tolerance"]:  # also refuses NaN
        raise UserError(_refusal(job, measured, off))
    kept = {name: value for name, value in s.items() if name != "where"}
    atomic.put_json(job.out / "gate.json", {**kept, "measured": measured, "off": off})


def _of_the_suite(job: Job) -> dict[str, float | int | str | None]:
    """FD of the suite's own samples to its own training images."""
    rows = json.loads((job.inputs["scores"] / "rows.json").read_text())
    row = next(r for r in rows if r["metric"] == "fd")
    return {name: row.get(name) for name in ("value", "low", "high", "n")}


def _as_published(job: Job) -> dict[str, float | int | str | None]:
    """FD to the statistics that the published one was taken against."""
    given = job.settings["where"]["statistics"]
    path = Path(given).expanduser() if given else resolve(REFERENCES[job.settings["reference"]])
    reference = read_reference(path)
    with np.load(job.inputs["features"] / "features.npz", allow_pickle=False) as data:
        found = frechet_distance(data["features"], reference.space("fid"))
    low, high = (None if math.isnan(end) else end for end in (found.low, found.high))
    described = job.inputs["features"] / "description.json"
    encoder = json.loads(described.read_text())["signature"] if described.is_file() else ""
    parts = {"enc": encoder, "ref": f"{reference.name}:{reference.sha256[:8]}", "n": found.n}
    signature = make_signature("fd", parts)
    return {"value": found.value, "low": low, "high": high, "n": found.n, "signature": signature}


def _refusal(job: Job, measured: dict[str, float | int | str | None], off: float) -> str:
    s = job.settings
    source = f" ({s['source']})" if s["source"] else ""
    interval = "" if measured["low"] is None else f", 95 % interval {measured['low']:.3f} to {measured['high']:.3f}"
    fewer = ""
    if int(measured["n"] or 0) < s["published_n"]:
        fewer = f" The stated value rests on {s['published_n']:,} samples, and fewer give a larger FD."
    return (
        f"base gate of {s['backbone']}: FD {measured['value']:.3f} in {s['space']} (n = {measured['n']:,}{interval}; "
        f"{s['how']}) is {off:.1%} off the stated {s['fd']:g}{source}; at most {s['tolerance']:.1%} is allowed, so no "
        f"RL was started from it.{fewer} Check the checkpoint, the autoencoder, the sampler and the reference images, "
        "or change `gate` if the stated value belongs to another protocol"
    )


def cost(of: Stage) -> Work:
    """A comparison of two numbers; under a card's protocol the FD comes before it."""
    if "features" not in of.node.inputs:
        return of.kept()
    features = of.input("features")
    return of.host(FrechetDistance.operations(features.input("samples").images, 0, 0, features.encoder().width, 0))
