"""What a suite will cost before it is run: stages to make, time, disk, memory, and what has to be brought first."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from drlbench.estimate import Estimate, estimate, is_known
from drlbench.prerequisites import Missing, has_gpu, missing
from drlbench.progress import FIRST_GUESS, clock
from drlbench.store.layout import Store

if TYPE_CHECKING:
    from drlbench.graph import Plan


@dataclass(frozen=True)
class KindCost:
    """Stages of one kind: how many in all, how many are in the store, and the time the others will take.

    `seconds_each` is the mean of the stages of this kind that the store has seen; `measured` says whether it has
    seen any, and `seconds_each` is a laptop's guess otherwise.
    """

    kind: str
    stages: int
    cached: int
    seconds_each: float
    measured: bool

    @property
    def seconds(self) -> float:
        return (self.stages - self.cached) * self.seconds_each


@dataclass(frozen=True)
class Costs:
    """The answer of `drlbench plan`.

    Attributes:
        arithmetic: GPU-hours by counted operations, for suites of published backbones; None for embedded ones.
    """

    suite: str
    cells: int
    kinds: list[KindCost]
    disk_bytes: int
    arithmetic: Estimate | None
    missing: list[Missing]
    gpu: bool

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
            each = f"{k.seconds_each:.1f}" + ("" if k.measured else "?")
            row = f"{k.kind:12} {k.stages:5} {k.cached:7} {k.stages - k.cached:6} {each:>8} {clock(k.seconds):>9}"
            lines.append(row)
        total = sum(k.seconds for k in self.kinds)
        disk = f"disk: about {self.disk_bytes / 1e6:.0f} MB"
        lines.append(f"one worker: about {clock(total)}; two: about {clock(total / 2)}; {disk}")
        if any(not k.measured and k.seconds for k in self.kinds):
            lines.append("? = not measured on this machine yet, a guess")
        return lines

    def _by_arithmetic(self, e: Estimate) -> list[str]:
        lines = [f"{'stage':12} {'all':>7} {'cached':>7} {'to do':>7} {'H200-hours, floor':>18}"]
        for k in self.kinds:
            hours = e.floor_by_kind.get(k.kind, 0.0)
            shown = f"{hours:,.1f}" if hours else "-"
            lines.append(f"{k.kind:12} {k.stages:7,} {k.cached:7,} {k.stages - k.cached:7,} {shown:>18}")
        return [*lines, "", *e.to_lines(), f"disk: about {self.disk_bytes / 1e12:.1f} TB if every cell is kept "
                "(samples and features; `--cells` makes a part, `cache gc` frees the rest)"]  # fmt: skip


def cost_table(plan: Plan, store: Store) -> Costs:
    """Count what is cached, estimate the rest, and list what is missing."""
    seen: dict[str, list[float]] = defaultdict(list)
    for kind, folder in store.entries():
        try:
            seen[kind].append(float(json.loads((folder / "seconds.json").read_text())))
        except (OSError, ValueError):
            continue
    counts: dict[str, int] = defaultdict(int)
    left = []
    done: dict[str, int] = defaultdict(int)
    for node in plan.nodes.values():
        counts[node.kind] += 1
        if seen[node.kind] and store.has(node.kind, node.key):
            done[node.kind] += 1
        else:
            left.append(node)
    kinds = []
    for kind, count in counts.items():
        each = math.fsum(seen[kind]) / len(seen[kind]) if seen[kind] else FIRST_GUESS.get(kind, 1.0)
        kinds.append(KindCost(kind, count, done[kind], each, bool(seen[kind])))
    large = any(b.checkpoint is not None and is_known(b) for b in plan.spec.backbones.values())
    arithmetic = estimate(plan, left) if large else None
    disk = arithmetic.disk_bytes if arithmetic else _disk(plan)
    return Costs(plan.spec.suite, len(plan.cells), kinds, disk, arithmetic, missing(plan.spec), has_gpu())


def _disk(plan: Plan) -> int:
    """Bytes of samples and features; where a suite does not say otherwise, images of 32 x 32 and features 64 wide."""
    spec = plan.spec
    side = int(spec.data.settings.get("size", 32))
    samples = sum(n.kind == "samples" for n in plan.nodes.values()) * spec.sampling.n * side * side
    features = sum(n.kind == "features" for n in plan.nodes.values()) * spec.sampling.n * 64 * 4
    return samples + features
