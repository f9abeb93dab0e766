"""Stage: one fine-tune, from its start model, with the KL taken to that same model."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import psutil
import torch
from torch import Tensor

from drlbench.backbones.base import VelocityModel
from drlbench.data.sources import read_dataset
from drlbench.errors import MissingPrerequisite
from drlbench.finetune.adjoint_matching import SAVE_LIMIT
from drlbench.finetune.fd_loss import Space
from drlbench.finetune.heldout import PREFIX, Turn, measure_every, turns
from drlbench.finetune.latents import Latents, StreamedLatents
from drlbench.finetune.ranks import world
from drlbench.finetune.train import train
from drlbench.registry import ALGORITHMS
from drlbench.rewards.base import Reward
from drlbench.rewards.combined import Combined
from drlbench.seeds import seed_of, seeded
from drlbench.stages import Job
from drlbench.stages.files import (
    load_encoders,
    load_model,
    load_reward,
    read_samples,
    save_finetuned,
    write_description,
)
from drlbench.stages.watch import HeldOut, real_images, watching
from drlbench.store import atomic
from drlbench.tracking import open_tracker
from drlbench.training import to_float

if TYPE_CHECKING:
    from drlbench.cost.stage import Stage
    from drlbench.cost.work import Work

BATCH = 512
CHECKPOINT_SECONDS = 600.0
CURVE_POINTS = 200
FLOAT32 = 4
KEPT_BYTES = 16e9  # of latents in memory


def run(job: Job) -> None:
    """Train the number of updates asked for; a killed stage continues from its last checkpoint."""
    s = job.settings
    with seeded(seed_of("policy", s["seed"])):
        policy = load_model(job.inputs["start"], job.device, trainable=True, policy=s.get("policy"))
    reference = load_model(job.inputs["start"], job.device)
    kind = ALGORITHMS.get(s["algorithm"])
    data = _latents(job, reference) if getattr(kind, "needs_data", True) else None
    settings = dict(s["settings"])
    if s["lambda"] is not None:
        settings["lambda"] = s["lambda"]
    own = {"spaces": _spaces(job)} if "spaces" in s else {}
    algorithm = kind(policy, reference, _reward(job), data, settings, s["seed"], **own)
    held_out = HeldOut(job) if "watch" in s else None
    measure = measure_every(algorithm, s["watch"]["every"], held_out) if held_out is not None else None

    leads = world()[0] == 0
    tracker = open_tracker(job.tracking, s) if job.tracking is not None and leads else None

    def on_step(row: dict[str, Any]) -> None:
        if measure is not None:
            measure(row)
        if tracker is not None:
            tracker.log(row)
        job.progress(row["update"] / s["updates"])

    rows = train(algorithm, s["updates"], job.partial, CHECKPOINT_SECONDS, on_step)
    if tracker is not None:
        tracker.close()
    finished = algorithm.finished_policy()  # every rank takes part
    if not leads:
        return
    save_finetuned(job.out, finished, job.inputs["start"], s.get("policy"))
    curve = _curve(rows)
    if held_out is not None:
        _mark(curve, turns(rows, held_out.better))
    atomic.put_json(job.out / "curve.json", curve)
    write_description(job.out, training_seconds=rows[-1]["seconds"], clock="cpu" if job.device == "cpu" else "wall")


def _latents(job: Job, model: VelocityModel) -> tuple[Latents, Tensor]:
    """The train images, or a teacher's samples, as the model's latents (N, C, H, W), with their labels (N,).

    Those that would take more than `KEPT_BYTES` are encoded when they are asked for; how much memory happens to be free
    must not decide it, as the same suite gives the same numbers.

    Raises:
        MissingPrerequisite: those that are kept do not fit into the memory that is free.
    """
    if "teacher" in job.inputs:
        images, labels = read_samples(job.inputs["teacher"])
    else:
        data = read_dataset(job.settings["data"])
        images, labels = data.train_images, data.train_labels
    count, free = len(images), psutil.virtual_memory().available
    y = torch.from_numpy(labels).to(job.device)
    needed = FLOAT32 * count * math.prod(model.latent_shape)
    if needed > KEPT_BYTES:
        return StreamedLatents(images, model.encode, job.device), y
    if needed > 0.8 * free:
        raise MissingPrerequisite(
            f"{job.settings['algorithm']} learns from images, whose {count:,} latents take "
            f"{needed / 1e9:.1f} GB of memory; {free / 1e9:.1f} GB are free"
        )
    with torch.no_grad():
        parts = [
            model.encode(to_float(images[start : start + BATCH]).to(job.device)) for start in range(0, count, BATCH)
        ]
    return torch.cat(parts), y


def _reward(job: Job) -> Reward | None:
    """The single reward, or the weighted sum of a combined run, or none."""
    terms: dict[str, float] = job.settings["terms"]
    if not terms:
        return None
    encoders = load_encoders(job.inputs, job.device)
    rewards = {name: load_reward(job.inputs[f"reward:{name}"], encoders, job.device) for name in terms}
    if len(terms) == 1:
        return next(iter(rewards.values()))
    return Combined([rewards[name] for name in terms], list(terms.values()))


def _spaces(job: Job) -> list[Space]:
    """The representations that the algorithm itself looks through, with the moments of the train images."""
    encoders = load_encoders(job.inputs, job.device)
    found = []
    for name in job.settings["spaces"]:
        real = real_images(job, name)
        found.append(Space(name, encoders[name], torch.from_numpy(real.mean), torch.from_numpy(real.covariance)))
    return found


def _mark(curve: dict[str, Any], found: list[Turn]) -> None:
    """Say where the first held-out measure turned, and what every one that did has lost since."""
    if found:
        curve["summary"]["stop_at"] = float(found[0].update)
        curve["stop"] = {"at": found[0].update, "why": [str(t) for t in found]}


def _curve(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """At most `CURVE_POINTS` evenly spaced rows and those with held-out measures; no wall-clock columns, they differ
    from run to run."""
    stride = -(-len(rows) // CURVE_POINTS)
    kept = [r for r in rows if r["update"] % stride == 0 or any(n.startswith(PREFIX) for n in r)]
    names = [n for n in dict.fromkeys(n for row in kept for n in row) if n not in ("update", "seconds")]

    def number(value: Any) -> float | None:
        return float(value) if isinstance(value, int | float) and math.isfinite(value) else None

    return {
        "step": [row["update"] for row in kept],
        "series": {n: [number(row.get(n)) for row in kept] for n in names},
        "summary": {n: number(kept[-1].get(n)) for n in names} if kept else {},
    }


def cost(of: Stage) -> Work:
    """What the algorithm declares, and what watches it.

    Raises:
        NotCounted: the algorithm declares nothing.
    """
    s, own = of.settings, of.settings["settings"]
    images = of.input("teacher").images if "teacher" in of.node.inputs else of.counts[0]
    found = ALGORITHMS.get(s["algorithm"]).evaluations(own, s["updates"], images)
    if found is None:
        raise of.not_counted(f"algorithm {s['algorithm']} does not declare its `evaluations`")
    recompute = own.get("activation_checkpointing", False)
    precision, rank = own.get("precision", "fp32"), own.get("lora_rank")
    start, model = of.model("start", precision), of.model("start", precision, rank, recompute, s.get("policy"))
    # Adjoints are the start's; of forwards it is not said whose they are, and the policy's take longer.
    work = model.velocity.run(found.forwards) + start.velocity.run(found.products, "product")
    work += model.velocity.run(found.trained, "trained")
    judges = [of.reward(f"reward:{name}") for name in s["terms"]]
    judges += [of.encoder(f"encoder:{name}") for name in s.get("spaces", ())]
    if judges:
        for through in (model.decoder, *judges):
            work += through.run(found.reward_forwards) + through.run(found.reward_products, "product")
    if getattr(ALGORITHMS.get(s["algorithm"]), "needs_data", True):
        streamed = FLOAT32 * images * model.latent > KEPT_BYTES
        seen = s["updates"] * own.get("batch", 1) if streamed else images
        work += of.reading(seen) + of.input("start").base().encoding(seen)
    if "watch" in s:
        rounds = s["updates"] // s["watch"]["every"]
        work += watching(of, of.model("start")).times(rounds)
    weights, held = model.velocity.bytes, found.held * model.latent
    # Weights, gradients, Adam's two moments and the average of the policy; the reference and other copies.
    on_device = weights * (5 + (own.get("ema") is not None) + found.copies)
    on_host = own.get("buffer_device") == "host"
    return work + of.kept(
        disk=weights,
        scratch=3 * weights + min(held, SAVE_LIMIT),
        memory=held if on_host else 0.0,
        device_memory=on_device + (0.0 if on_host else held),
    )
