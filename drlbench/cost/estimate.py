"""GPU-hours, disk and memory of a suite of published backbones, by counted operations.

The floor is the arithmetic at the peak of bf16 matrix products and nothing else. What to expect is the floor over the
share of the peak that is reached: measured, where `drlbench bench BACKBONE --json` was kept in baselines/bench/ (or
DRLBENCH_BENCH names its folder); else the share that the paper's reported hours amount to.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from drlbench.backbones.cards import AUTOENCODERS, CARDS
from drlbench.backbones.origin import autoencoder_for
from drlbench.cost.arithmetic import (
    DECODER_TFLOP,
    ENCODER_TFLOP,
    PAPER_HOURS,
    PEAK_TFLOPS,
    TRAINED,
    VJP,
    forward_tflop,
    latent_values,
    sampling_tflop,
    trajectories,
    trajectory_tflop,
)
from drlbench.cost.measured import HOUR, measured_share
from drlbench.finetune.presets import preset
from drlbench.sampling.counts import evaluations
from drlbench.suite.parts import BackboneSpec
from drlbench.weights.catalogue import needed

if TYPE_CHECKING:
    from drlbench.plan.graph import Plan
    from drlbench.plan.node import Node

PAPER_UPDATES = 3000
FEATURE_BYTES, PIXEL_CHANNELS = 4, 3
WIDTHS = {"inception-v3": 2048, "dinov2": 1024, "dinov3": 1024, "siglip": 1024, "clip": 768}
DTYPE_BYTES = {"fp32": 4, "bf16": 2}


@dataclass(frozen=True)
class BackboneCost:
    """One backbone: its operations and hours.

    Attributes:
        forward_tflop: one evaluation of one sample.
        per_lambda_floor: H200-hours of one fine-tune of `PAPER_UPDATES` updates, at the floor.
        paper_hours: the paper's for the same, or None.
        share, measured: of the peak that is expected, and whether it was measured.
        sampling_floor: hours of one unguided sample set.
        floor, expected: hours of everything that is to be made for it.
        host_gigabytes: of one trajectory buffer; checkpoint_gigabytes: of one kept fine-tune.
    """

    name: str
    forward_tflop: float
    per_lambda_floor: float
    paper_hours: float | None
    share: float | None
    measured: str
    sampling_floor: float
    floor: float
    expected: float | None
    host_gigabytes: float
    checkpoint_gigabytes: float


@dataclass(frozen=True)
class Estimate:
    """All of a suite."""

    backbones: list[BackboneCost]
    floor_by_kind: dict[str, float]
    shared_floor: float
    disk_bytes: int
    host_gigabytes: float

    @property
    def floor(self) -> float:
        return sum(self.floor_by_kind.values())

    def to_lines(self) -> list[str]:
        """A table by backbone, and the totals."""
        lines = [
            f"H200-hours at the floor of {PEAK_TFLOPS:.0f} TFLOP/s (bf16), and expected:",
            f"{'backbone':10} {'forward':>13} {'one lambda':>11} {'paper':>7} {'share':>7} {'one sample set':>15} "
            f"{'all, floor':>11} {'all, expected':>14}",
        ]
        for b in self.backbones:
            paper = f"{b.paper_hours:.0f}" if b.paper_hours else "-"
            share = f"{b.share:.0%}" if b.share else "-"
            expected = f"{b.expected:,.0f}" if b.expected else "-"
            lines.append(
                f"{b.name:10} {b.forward_tflop:7.3f} TFLOP {b.per_lambda_floor:11.1f} {paper:>7} {share:>7} "
                f"{b.sampling_floor:15.2f} {b.floor:11,.0f} {expected:>14}"
            )
        known = [b.expected for b in self.backbones if b.expected]
        total = f"{self.floor:,.0f} H200-hours at the floor"
        if len(known) == len(self.backbones) and known:
            total += f", about {sum(known) + self.shared_floor:,.0f} expected"
        notes = sorted({b.measured for b in self.backbones if b.share})
        lines.append(f"in all: {total} (share of the peak: {'; '.join(notes) or 'not known'})")
        each = max((b.checkpoint_gigabytes for b in self.backbones), default=0.0)
        buffers = _range([b.host_gigabytes for b in self.backbones])
        lines.append(
            f"memory: trajectory buffers of {buffers} GB, about {self.host_gigabytes:.0f} GB for a worker that holds "
            f"one sample set; a fine-tuned checkpoint takes up to {each:.1f} GB"
        )
        return lines


def _range(values: list[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:.0f}" if round(low) == round(high) else f"{low:.0f} to {high:.0f}"


def estimate(plan: Plan, nodes: Iterable[Node]) -> Estimate:
    """Hours of the stages that are still to be made.

    Args:
        nodes: the stages of the plan that are not in the store.
    """
    spec = plan.spec
    nodes = list(nodes)
    owner = owners(plan)
    floor: dict[tuple[str | None, str], float] = defaultdict(float)
    for node in nodes:
        backbone = owner.get(node.key)
        floor[backbone, node.kind] += _tflop(plan, node, backbone) / PEAK_TFLOPS / HOUR
    by_kind: dict[str, float] = defaultdict(float)
    for (_, kind), hours in floor.items():
        by_kind[kind] += hours
    costs = [
        _backbone(plan, name, sum(hours for (who, _), hours in floor.items() if who == name)) for name in spec.backbones
    ]
    side = int(spec.data.settings.get("size", 256))
    sample_bytes = spec.sampling.n * side * side * PIXEL_CHANNELS
    disk = sum(
        sample_bytes * n.settings.get("n", spec.sampling.n) // spec.sampling.n for n in nodes if n.kind == "samples"
    )
    features = {k: spec.sampling.n * WIDTHS.get(e.kind, 1024) * FEATURE_BYTES for k, e in spec.encoders.items()}
    space_of = {node.key: name for name, node in plan.encoders.items()}
    disk += sum(features[space_of[n.inputs["encoder"][1]]] for n in nodes if n.kind == "features")
    sizes = {c.name: c.checkpoint_gigabytes for c in costs}
    disk += round(sum(sizes.get(owner.get(n.key) or "", 0.0) * 1e9 for n in nodes if n.kind == "finetune"))
    shared = sum(hours for (who, _), hours in floor.items() if who is None)
    return Estimate(costs, dict(by_kind), shared, int(disk), 2.5 * sample_bytes / 1e9)


def owners(plan: Plan) -> dict[str, str]:
    """Key of every stage that belongs to one backbone -> its name."""
    owner: dict[str, str] = {}
    for cell in plan.cells:
        stack = [cell.model.key, *(n.key for n in (cell.kl, cell.trajectory) if n)]
        for measured in cell.measured.values():
            stack += [n.key for n in (measured.samples, *measured.scores.values(), *measured.preference.values())]
        while stack:
            key = stack.pop()
            node = plan.nodes[key]
            if (
                key in owner
                or node.kind in ("encoder", "reference")
                or (node.kind == "reward" and "model" not in node.inputs)
            ):
                continue
            owner[key] = cell.cell.backbone
            stack += [k for _, k in (*node.inputs.values(), *node.after)]
    return owner


def is_known(backbone: BackboneSpec) -> bool:
    """Whether the suite says how large the network is: an official size or card, or an architecture in full."""
    return backbone.size is not None or backbone.checkpoint in CARDS or "hidden_size" in backbone.architecture


def _name(backbone: BackboneSpec) -> str:
    card = CARDS.get(backbone.checkpoint or "")
    return backbone.size or (card.size if card else backbone.family)


def _forward(backbone: BackboneSpec) -> float:
    return forward_tflop(_name(backbone), backbone.architecture) if is_known(backbone) else 0.0


def _decoder(backbone: BackboneSpec) -> float:
    if backbone.checkpoint is None:
        return 0.0
    name = autoencoder_for(backbone.checkpoint, _name(backbone), backbone.autoencoder)
    card = AUTOENCODERS.get(name)
    return DECODER_TFLOP[card.kind] * (card.pixels / 256) ** 2 if card else 0.0


def _through(plan: Plan, reward: str) -> float:
    """Operations of one image through a reward."""
    spec = plan.spec.rewards[reward]
    kinds = [(plan.spec.encoders[e].kind, plan.spec.encoders[e].settings) for e in spec.encoders]
    return sum(_network(kind, settings) for kind, settings in [*kinds, (spec.kind, spec.settings)])


def _network(kind: str, settings: Mapping[str, Any]) -> float:
    plain = {k: v for k, v in settings.items() if k != "weights"}
    return sum(ENCODER_TFLOP.get(asset.name, 0.0) for asset in needed(kind, plain))


def _tflop(plan: Plan, node: Node, owner: str | None) -> float:
    """Operations of one stage on large networks; what runs in NumPy counts nothing."""
    s, spec = node.settings, plan.spec
    if node.kind == "reference":
        encoder = _encoder_of(plan, node)
        counts = spec.data.counts or [0, 0]
        return sum(min(count, s.get("limit", count)) for count in counts) * encoder
    if node.kind == "features":
        return spec.sampling.n * _encoder_of(plan, node)
    if node.kind == "preference":
        return spec.sampling.n * _through(plan, s["name"])
    if owner is None:
        return 0.0
    backbone = spec.backbones[owner]
    forward, decoder = _forward(backbone), _decoder(backbone)
    if node.kind == "samples":
        calls = evaluations(s["sampler"], s["steps"], backbone.family)
        return float(s["n"]) * sampling_tflop(forward, decoder, calls, s["cfg"], s["low"], s["high"])
    if node.kind == "reward":
        through = _through(plan, s["name"])
        calls = evaluations(s["sampler"], s["fake_steps"], backbone.family)
        fakes = s["fakes"] * (sampling_tflop(forward, decoder, calls) + through)
        # R1 takes a gradient of a gradient: a forward, a backward, and both again.
        r1 = 6 * through * s["settings"].get("steps", 10_000) * s["settings"].get("batch", 512) / 2
        return fakes + (spec.data.counts or [0])[0] * through + (r1 if s["settings"].get("r1") else 0.0)
    if node.kind == "finetune":
        if s["algorithm"] == "sft":
            return float(s["updates"] * s["settings"].get("batch", 576)) * TRAINED * forward
        reward = sum(_through(plan, name) for name in s["terms"])
        drawn = trajectories(s["updates"], s["settings"])
        return drawn * trajectory_tflop(forward, decoder + reward, s["settings"])
    if node.kind == "trajectory":
        # SDE and Heun's ODE, of the model and of its base.
        return 6.0 * s["n"] * s["settings"].get("steps", 100) * forward
    if node.kind == "kl":
        calls = evaluations(spec.sampling.sampler, spec.sampling.steps, backbone.family)
        return float(s["n"]) * (1 + VJP) * sampling_tflop(forward, 0.0, calls)
    return 0.0


def _encoder_of(plan: Plan, node: Node) -> float:
    name = next(name for name, encoder in plan.encoders.items() if encoder.key == node.inputs["encoder"][1])
    return _network(plan.spec.encoders[name].kind, plan.spec.encoders[name].settings)


def _backbone(plan: Plan, name: str, floor: float) -> BackboneCost:
    backbone = plan.spec.backbones[name]
    forward, decoder = _forward(backbone), _decoder(backbone)
    tunes = [n for c in plan.cells if c.cell.backbone == name for _, n in c.training if n.kind == "finetune"]
    settings: Mapping[str, Any] = tunes[0].settings["settings"] if tunes else {}
    one = trajectories(PAPER_UPDATES, settings) * trajectory_tflop(forward, decoder, settings) / PEAK_TFLOPS / HOUR
    paper = PAPER_HOURS.get(backbone.family)
    share, measured = None, ""
    if paper and one:
        recipe = preset("adjoint-matching", backbone.family)
        theirs = trajectories(PAPER_UPDATES, recipe) * trajectory_tflop(forward, decoder, recipe) / PEAK_TFLOPS / HOUR
        share, measured = theirs / paper, "from the paper's hours"
        if (found := measured_share(_name(backbone), theirs)) is not None:
            share, measured = found
    sampling = plan.spec.sampling
    each = sampling_tflop(forward, decoder, evaluations(sampling.sampler, sampling.steps, backbone.family))
    values = latent_values(_name(backbone), backbone.architecture) if forward else 0
    held = 2 * int(settings.get("steps", 100)) * int(settings.get("buffer", 2304)) * values
    return BackboneCost(
        name=name,
        forward_tflop=forward,
        per_lambda_floor=one,
        paper_hours=paper,
        share=share,
        measured=measured,
        sampling_floor=sampling.n * each / PEAK_TFLOPS / HOUR,
        floor=floor,
        expected=floor / share if share else None,
        host_gigabytes=held * DTYPE_BYTES[settings.get("buffer_dtype", "fp32")] / 1e9,
        checkpoint_gigabytes=_checkpoint(backbone) / 1e9,
    )


def _checkpoint(backbone: BackboneSpec) -> int:
    """Bytes of the network's weights in float32, from its card; 0 where it is not known."""
    card = CARDS.get(backbone.checkpoint or "")
    if card is None:
        return 0
    return card.asset.size // (3 if card.format == "training checkpoint" else 1)  # raw weights and two averages
