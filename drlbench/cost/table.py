"""What a suite will cost before it is run: stages to make, time, disk, memory, and what has to be brought first."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from drlbench.cost.estimate import Estimate, estimate, is_known
from drlbench.cost.measured import measured_tflops
from drlbench.cost.throughput import ASSUMED, Throughput
from drlbench.cost.workload import Workload, image_shape
from drlbench.plan.prerequisites import Missing, has_gpu, missing
from drlbench.run.progress import FIRST_GUESS, clock
from drlbench.store.layout import Store

if TYPE_CHECKING:
    from drlbench.plan.graph import Plan
    from drlbench.plan.node import Node

MARKS = {"measured": "", "counted": "*", "guess": "?"}


@dataclass(frozen=True)
class KindCost:
    """Stages of one kind: how many in all, how many are in the store, and the time the others will take.

    `seconds_each` is a mean. Its `basis`: "measured" on the stages of this kind that the store has seen; "counted", the
    operations of those still to be made at the throughput of a device; or a laptop's "guess".
    """

    kind: str
    stages: int
    cached: int
    seconds_each: float
    basis: Literal["measured", "counted", "guess"]

    @property
    def seconds(self) -> float:
        return (self.stages - self.cached) * self.seconds_each


@dataclass(frozen=True)
class Costs:
    """The answer of `drlbench plan`.

    Attributes:
        arithmetic: GPU-hours by counted operations, for suites of published backbones; None for embedded ones.
        throughput: what counted operations of small networks are divided by, and on which device; None for published
            backbones.
    """

    suite: str
    cells: int
    kinds: list[KindCost]
    disk_bytes: int
    arithmetic: Estimate | None
    missing: list[Missing]
    gpu: bool
    throughput: Throughput | None = None

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "seconds": sum(k.seconds for k in self.kinds)}

    def to_text(self) -> str:
        lines = [f"{self.suite}: {self.cells} cells, {sum(k.stages for k in self.kinds):,} stages"]
        lines += self._by_arithmetic(self.arithmetic) if self.arithmetic else self._by_seconds()
        if self.arithmetic and not self.gpu:
            lines.append("this machine has no NVIDIA GPU that could run it")
        if self.missing:
            total = sum(m.gigabytes for m in self.missing)
            lines.append(f"\nmissing here ({len(self.missing)}, {total:.0f} GB; `drlbench fetch` brings what it can):")
            lines += [m.to_text() for m in self.missing]
        return "\n".join(lines)

    def _by_seconds(self) -> list[str]:
        lines = [f"{'stage':12} {'all':>5} {'cached':>7} {'to do':>6} {'s each':>8} {'in all':>9}"]
        for k in self.kinds:
            each = f"{k.seconds_each:.1f}" + MARKS[k.basis]
            row = f"{k.kind:12} {k.stages:5} {k.cached:7} {k.stages - k.cached:6} {each:>8} {clock(k.seconds):>9}"
            lines.append(row)
        total = sum(k.seconds for k in self.kinds)
        disk = f"disk: about {self.disk_bytes / 1e6:.0f} MB"
        lines.append(f"one worker: about {clock(total)}; two: about {clock(total / 2)}; {disk}")
        open_ = {k.basis for k in self.kinds if k.seconds}
        if "counted" in open_ and self.throughput:
            lines.append(f"* = counted operations, {self.throughput.basis}")
        if "guess" in open_:
            lines.append("? = neither measured nor counted, a guess")
        return lines

    def _by_arithmetic(self, e: Estimate) -> list[str]:
        lines = [f"{'stage':12} {'all':>7} {'cached':>7} {'to do':>7} {'H200-hours, floor':>18}"]
        for k in self.kinds:
            hours = e.floor_by_kind.get(k.kind, 0.0)
            shown = f"{hours:,.1f}" if hours else "-"
            lines.append(f"{k.kind:12} {k.stages:7,} {k.cached:7,} {k.stages - k.cached:7,} {shown:>18}")
        return [*lines, "", *e.to_lines(), f"disk: about {self.disk_bytes / 1e12:.1f} TB if every cell is kept "
                "(samples and features; `--cells` makes a part, `cache gc` frees the rest)"]  # fmt: skip


def cost_table(plan: Plan, store: Store, device: str = "cpu") -> Costs:
    """Count what is cached, estimate the rest for a device ("cpu" or "cuda"), and list what is missing."""
    seen: dict[str, list[float]] = defaultdict(list)
    large = any(b.checkpoint is not None and is_known(b) for b in plan.spec.backbones.values())
    # The guesses were made for the digits, and their networks are too small for operations to say anything.
    counted = None if large or (plan.spec.data.kind == "digits" and device == "cpu") else Workload(plan)
    for kind, folder in store.entries():
        # What other suites' stages took says something of the digits' only, which are all alike.
        if counted is not None and folder.name not in plan.nodes:
            continue
        try:
            seen[kind].append(float(json.loads((folder / "seconds.json").read_text())))
        except (OSError, ValueError):
            continue
    counts: dict[str, int] = defaultdict(int)
    left: dict[str, list[Node]] = defaultdict(list)
    for node in plan.nodes.values():
        counts[node.kind] += 1
        if not (seen[node.kind] and store.has(node.kind, node.key)):
            left[node.kind].append(node)
    at = throughput_of(plan, device) if counted is not None else None
    kinds = []
    for kind, count in counts.items():
        found = [counted.of(n) for n in left[kind]] if counted is not None else []
        works = [w for w in found if w is not None]
        basis: Literal["measured", "counted", "guess"]
        if at is not None and works and len(works) == len(found):
            each, basis = math.fsum(at.seconds(w) for w in works) / len(works), "counted"
        elif seen[kind]:
            each, basis = math.fsum(seen[kind]) / len(seen[kind]), "measured"
        else:
            each, basis = FIRST_GUESS.get(kind, 1.0), "guess"
        kinds.append(KindCost(kind, count, count - len(left[kind]), each, basis))
    arithmetic = estimate(plan, [n for nodes in left.values() for n in nodes]) if large else None
    disk = arithmetic.disk_bytes if arithmetic else _disk(plan)
    return Costs(plan.spec.suite, len(plan.cells), kinds, disk, arithmetic, missing(plan.suite), has_gpu(), at)


def throughput_of(plan: Plan, device: str) -> Throughput:
    """The assumed throughput of a device, or what `drlbench bench` measured there with one of the suite's networks."""
    assumed = ASSUMED[device]
    found: dict[str, float] = {}
    for backbone in plan.spec.backbones.values():
        for precision in ("fp32", "bf16"):
            rate = measured_tflops(backbone.size or backbone.family, backbone.architecture, precision, device)
            if rate is not None:
                found.setdefault(precision, rate)
    if not found:
        return assumed
    measured = ", ".join(f"{rate:.3g} TFLOP/s in {precision}" for precision, rate in found.items())
    return replace(assumed, **found, basis=f"MEASURED with drlbench bench: {measured}; else {assumed.basis}")  # type: ignore[arg-type] # names of fields


def _disk(plan: Plan) -> int:
    """Bytes of samples and features; where a suite does not say otherwise, images of 32 x 32 and features 64 wide."""
    spec = plan.spec
    channels, height, width = image_shape(spec) or (3, 32, 32)
    samples = sum(n.kind == "samples" for n in plan.nodes.values()) * spec.sampling.n * channels * height * width
    features = sum(n.kind == "features" for n in plan.nodes.values()) * spec.sampling.n * 64 * 4
    return samples + features
