"""What a suite will cost before it is run: stages to make, time, disk, and what has to be brought first."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

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
    """The answer of `drlbench plan`."""

    suite: str
    cells: int
    kinds: list[KindCost]
    disk_bytes: int

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "seconds": sum(k.seconds for k in self.kinds)}

    def to_text(self) -> str:
        lines = [f"{self.suite}: {self.cells} cells, {sum(k.stages for k in self.kinds)} stages"]
        lines.append(f"{'stage':12} {'all':>5} {'cached':>7} {'to do':>6} {'s each':>8} {'in all':>9}")
        for k in self.kinds:
            each = f"{k.seconds_each:.1f}" + ("" if k.measured else "?")
            lines.append(f"{k.kind:12} {k.stages:5} {k.cached:7} {k.stages - k.cached:6} {each:>8} {clock(k.seconds):>9}")
        total = sum(k.seconds for k in self.kinds)
        lines.append(f"one worker: about {clock(total)}; two: about {clock(total / 2)}; disk: about {self.disk_bytes / 1e6:.0f} MB")
        if any(not k.measured and k.seconds for k in self.kinds):
            lines.append("? = not measured on this machine yet, a guess")
        return "\n".join(lines)


def cost_table(plan: Plan, store: Store) -> Costs:
    """Count what is cached and estimate the rest from what the store has seen."""
    seen: dict[str, list[float]] = defaultdict(list)
    for kind, folder in store.entries():
        try:
            seen[kind].append(float(json.loads((folder / "seconds.json").read_text())))
        except (OSError, ValueError):
            continue
    kinds = []
    for kind in dict.fromkeys(n.kind for n in plan.nodes.values()):
        nodes = [n for n in plan.nodes.values() if n.kind == kind]
        each = math.fsum(seen[kind]) / len(seen[kind]) if seen[kind] else FIRST_GUESS.get(kind, 1.0)
        kinds.append(KindCost(kind, len(nodes), sum(store.has(kind, n.key) for n in nodes), each, bool(seen[kind])))
    return Costs(plan.spec.suite, len(plan.cells), kinds, _disk(plan))


def _disk(plan: Plan) -> int:
    """Bytes of samples and features; an embedded suite's images are at most 32 x 32, and features 64 wide."""
    spec = plan.spec
    samples = sum(n.kind == "samples" for n in plan.nodes.values()) * spec.sampling.n * 32 * 32
    features = sum(n.kind == "features" for n in plan.nodes.values()) * spec.sampling.n * 64 * 4
    return samples + features
