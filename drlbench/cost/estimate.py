"""What the stages of a plan will take: seconds of each, wall time, disk, memory, and what that rests on.

Seconds are the counted work at the rates of a device: a benchmark's of the network itself where one was kept, on an
H200 else the share of the peak that the paper's hours amount to, else assumed ones. Where stages of the same sort were
measured, in this store or in the kept record of such a device, the work is scaled by what those took over theirs.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from drlbench.cost.counts import Counts
from drlbench.cost.measured import PAPER_HOURS, Ratios, measured, network_rates, recorded
from drlbench.cost.networks import NotCounted, family, network_passes
from drlbench.cost.schedule import Schedule, schedule
from drlbench.cost.stage import Stage
from drlbench.cost.work import ASSUMED, BASIS, HOUR, NOTHING, PEAK_TFLOPS, TERA, Rate, Work
from drlbench.finetune.presets import UPDATES, preset
from drlbench.garbage import uncollected
from drlbench.registry import ALGORITHMS
from drlbench.store.layout import Store

if TYPE_CHECKING:
    from drlbench.plan.graph import Plan
    from drlbench.plan.node import Node

PROCESS_MEMORY = 0.7e9  # bytes of a worker before it does anything
Basis = Literal["measured", "recorded", "counted", "unknown"]


@dataclass(frozen=True)
class KindCost:
    """Stages of one kind: how many in all, how many are in the store, and what the others will take.

    Attributes:
        seconds: of those still to be made, one after another.
        tflop: operations of those.
        basis: the weakest that one of them rests on: "measured" in this store, "recorded" on such a device, or
            "counted" only; "unknown" where one cannot be counted, which then counts nothing.
    """

    kind: str
    stages: int
    cached: int
    seconds: float
    tflop: float
    basis: Basis

    @property
    def left(self) -> int:
        return self.stages - self.cached

    @property
    def seconds_each(self) -> float:
        return self.seconds / self.left if self.left else 0.0


@dataclass(frozen=True)
class BackboneCost:
    """A published backbone.

    Attributes:
        forward_tflop: one evaluation of one sample.
        fine_tune_floor: hours of its longest fine-tune at the peak of an H200.
        paper_hours: what the paper reports for one lambda, or None.
        floor, expected: hours of everything that is still to be made for it, at the peak and as estimated.
    """

    name: str
    forward_tflop: float
    fine_tune_floor: float
    paper_hours: float | None
    floor: float
    expected: float


@dataclass
class Estimate:
    """The stages of a plan on a device.

    Attributes:
        seconds: key -> of every stage that is still to be made.
        notes: what the rates rest on. unknown: why something is not counted.
    """

    device: str
    workers: int
    kinds: list[KindCost]
    backbones: list[BackboneCost]
    seconds: dict[str, float]
    schedule: Schedule
    work: Work
    notes: list[str]
    unknown: list[str] = field(default_factory=list)

    @property
    def peak_disk(self) -> float:
        """Bytes of the store while the last stages run beside all that is kept."""
        return self.work.disk + self.workers * self.work.scratch

    @property
    def memory(self) -> float:
        """Bytes of the host with every worker at its largest stage."""
        return self.workers * _host(self.work, self.device)


class Estimator:
    """Estimates the stages of one plan.

    Args:
        store: where finished stages are looked for, and what was measured.
        device: "cpu" or "cuda".
    """

    def __init__(self, plan: Plan, store: Store, device: str) -> None:
        self.plan, self.store, self.device = plan, store, device
        self.counts = _counts(plan)
        self.at = ASSUMED[device]
        self._groups: dict[int, tuple[float, Basis]] = {}

    @cached_property
    def rates(self) -> dict[Rate, tuple[float, str]]:
        """TFLOP/s of networks that something is known of."""
        found = network_rates(self.device)
        if self.device == "cuda":
            for node in self.plan.nodes.values():
                if node.kind == "base" and "model" in node.settings:
                    found = _by_the_paper(Stage(node, self.counts.graph)) | found
        return found

    @cached_property
    def tflops(self) -> dict[Rate, float]:
        return {rate: value for rate, (value, _) in self.rates.items()}

    @cached_property
    def ratios(self) -> list[tuple[Basis, Ratios]]:
        """What was measured, the nearest first."""
        data = next((n.settings["data"] for n in self.plan.nodes.values() if "data" in n.settings), None)
        found: list[tuple[Basis, Ratios]] = [("measured", measured(self.store, self.device, self.tflops, data))]
        kept = recorded(self.device)
        return found + ([("recorded", kept)] if kept else [])

    def seconds(self, node: Node) -> tuple[float, Basis]:
        """Of one stage, and what that rests on; nothing where it cannot be counted."""
        group = self.counts.group(node)
        if group not in self._groups:
            work = self.counts.of(node)
            self._groups[group] = (0.0, "unknown") if isinstance(work, str) else self._of(node, work)
        return self._groups[group]

    def _of(self, node: Node, work: Work) -> tuple[float, Basis]:
        counted = self.at.seconds(work, self.tflops)
        for basis, ratios in self.ratios:
            if (found := ratios.find(node, self.plan.nodes)) is not None:
                return counted * found[0], basis
        return counted, "counted"

    def estimate(self, workers: int) -> Estimate:
        """Everything, on so many workers."""
        nodes = list(self.plan.nodes.values())
        cached = {kind for kind in {n.kind for n in nodes} if (self.store.root / kind).is_dir()}
        left = [n for n in nodes if n.kind not in cached or not self.store.has(n.kind, n.key)]
        found = {n.key: self.seconds(n) for n in left}
        seconds = {key: value for key, (value, _) in found.items()}
        kinds, total, unknown = self._by_kind(nodes, left, found)
        notes = [BASIS[self.device], *sorted({where for rate, (_, where) in self.rates.items() if rate.large})]
        notes += [r.where for basis, r in self.ratios if any(basis == b for _, b in found.values())]
        return Estimate(
            self.device, workers, kinds, self._backbones(left, seconds), seconds,
            schedule(nodes, seconds, workers), total, notes, unknown,
        )  # fmt: skip

    def _by_kind(
        self, nodes: list[Node], left: list[Node], found: dict[str, tuple[float, Basis]]
    ) -> tuple[list[KindCost], Work, list[str]]:
        """Costs by kind, their work in all, and what is not counted. Stages that are alike are added up at once."""
        alike: dict[tuple[str, int], list[Node]] = defaultdict(list)
        for node in left:
            alike[node.kind, self.counts.group(node)].append(node)
        works, total, unknown = defaultdict(list), NOTHING, []
        for (kind, _), members in alike.items():
            work = self.counts.of(members[0])
            if isinstance(work, str):
                unknown.append(work)
            else:
                works[kind].append(work.tflop * len(members))
                total += work.times(len(members))
        kinds = []
        for kind in dict.fromkeys(n.kind for n in nodes):
            own = [found[n.key] for n in left if n.kind == kind]
            order: tuple[Basis, ...] = ("unknown", "counted", "recorded", "measured")
            basis: Basis = next((b for b in order if any(b == mine for _, mine in own)), "measured")
            count = sum(n.kind == kind for n in nodes)
            spent = math.fsum(s for s, _ in own)
            kinds.append(KindCost(kind, count, count - len(own), spent, math.fsum(works[kind]), basis))
        return kinds, total, unknown

    def _backbones(self, left: list[Node], seconds: dict[str, float]) -> list[BackboneCost]:
        """Of the published ones among a suite's backbones."""
        nodes = self.plan.nodes
        owner: dict[str, str] = {}
        for cell in self.plan.cells:
            base = Stage(cell.model, self.counts.graph).base().node
            if "model" in base.settings:
                owner[base.key] = cell.cell.backbone
        spent: dict[str, list[tuple[Node, float, float]]] = defaultdict(list)
        for node in nodes.values():
            for name in ("model", "start", "samples", "features", "scores"):
                if name in node.inputs and (backbone := owner.get(node.inputs[name][1])):
                    owner[node.key] = backbone
                    break
        for node in left:
            work = self.counts.of(node)
            if isinstance(work, Work) and node.key in owner:
                spent[owner[node.key]].append((node, work.tflop / PEAK_TFLOPS / HOUR, seconds[node.key] / HOUR))
        costs: list[BackboneCost] = []
        for key, name in owner.items():
            if nodes[key].kind != "base" or any(c.name == name for c in costs):
                continue
            try:
                network = Stage(nodes[key], self.counts.graph).key()
                forward = network_passes(network).forward.flops / TERA
            except NotCounted:
                continue
            longest = max((floor for node, floor, _ in spent[name] if node.kind == "finetune"), default=0.0)
            floor = math.fsum(hours for _, hours, _ in spent[name])
            expected = math.fsum(hours for _, _, hours in spent[name])
            costs.append(BackboneCost(name, forward, longest, PAPER_HOURS.get(family(network[0])), floor, expected))
        return costs


def _by_the_paper(base: Stage) -> dict[Rate, tuple[float, str]]:
    """TFLOP/s that the paper's reported hours amount to, for a backbone that it has."""
    try:
        key = base.key()
        name = family(key[0])
        if name not in PAPER_HOURS:
            return {}
        recipe = preset("adjoint-matching", name)
        found = ALGORITHMS.get("adjoint-matching").evaluations(recipe, UPDATES["drl"])
        passes = network_passes(key)
        flops = found.forwards.rows * passes.forward.flops + found.products.rows * passes.product.flops
        flops += found.trained.rows * passes.trained.flops
    except NotCounted:
        return {}
    tflops = flops / TERA / HOUR / PAPER_HOURS[name]
    where = f"{key[0]} at {tflops:.0f} TFLOP/s, {tflops / PEAK_TFLOPS:.0%} of the peak, from the paper's hours"
    return {Rate(key[0], "bf16", True): (tflops, where)}


def to_come(plan: Plan, store: Store, device: str, workers: int) -> tuple[dict[str, float], float]:
    """What a run has before it, in one pass over the stages that are still to be made.

    Returns:
        Key -> seconds, 0 where a stage cannot be counted; and the bytes that the store gets at most: what is kept, and
        what lies there while stages run. Stages that cannot be counted add nothing to them.
    """
    found = Estimator(plan, store, device)
    left = [n for n in plan.nodes.values() if not store.has(n.kind, n.key)]
    with uncollected():  # a tenth of the time to the first stage
        known = [work for n in left if isinstance(work := found.counts.of(n), Work)]
    size = math.fsum(w.disk for w in known) + workers * max((w.scratch for w in known), default=0.0)
    return {n.key: found.seconds(n)[0] for n in left}, size


def host_memory(plan: Plan, device: str) -> dict[str, float]:
    """Key -> bytes of the host that a stage takes at once; a bare process where it cannot be counted."""
    counts = _counts(plan)
    works = {key: counts.of(node) for key, node in plan.nodes.items()}
    return {key: _host(work if isinstance(work, Work) else NOTHING, device) for key, work in works.items()}


def _counts(plan: Plan) -> Counts:
    given = plan.spec.data.counts
    return Counts(plan.nodes, (given[0], given[1]) if given else None)


def _host(work: Work, device: str) -> float:
    return PROCESS_MEMORY + work.memory + (work.device_memory if device == "cpu" else 0.0)
