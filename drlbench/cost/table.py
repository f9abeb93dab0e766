"""The answer of `drlbench plan`: stages to make, time, disk, memory, and what has to be brought first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from drlbench.cost.clock import clock
from drlbench.cost.estimate import Estimate, Estimator
from drlbench.cost.work import HOUR, PEAK_TFLOPS
from drlbench.plan.prerequisites import Missing, has_gpu, missing

if TYPE_CHECKING:
    from drlbench.plan.graph import Plan
    from drlbench.store.layout import Store

MARKS = {"measured": "", "recorded": "'", "counted": "*", "unknown": "?"}
MEANINGS = {
    "measured": "no mark: counted work, scaled by what stages of the sort took in this store",
    "recorded": "' counted work, scaled by what stages of the sort took",
    "counted": "* counted work at the rates of the device",
    "unknown": "? not all of them are counted",
}
DAY = 24 * HOUR


def duration(seconds: float) -> str:
    """A clock up to a day, then hours."""
    return clock(seconds) if seconds < DAY else f"{seconds / HOUR:,.0f} h"


def size(count: float) -> str:
    """Bytes in a unit that leaves one to three digits before the point."""
    for unit in ("kB", "MB", "GB"):
        count /= 1000
        if count < 1000:
            return f"{count:.1f} {unit}" if count < 10 else f"{count:.0f} {unit}"
    return f"{count / 1000:.1f} TB"


@dataclass(frozen=True)
class Costs:
    """What a suite will cost.

    Attributes:
        cells: that are planned. all_cells: of the suite; with a pattern they are more, and `whole` is their estimate.
        without: override -> the estimate with all others but that one; None where the suite cannot do without it.
    """

    suite: str
    cells: int
    all_cells: int
    estimate: Estimate
    whole: Estimate | None
    missing: list[Missing]
    gpu: bool
    nodes: int
    without: Mapping[str, Estimate | None]

    def to_json(self) -> dict[str, Any]:
        """`seconds` is the work of all stages one after another, `wall_seconds` that on the workers."""
        found = {
            "suite": self.suite, "cells": self.cells, **_facts(self.estimate), "gpu": self.gpu,
            "missing": [asdict(m) for m in self.missing], "download_gigabytes": sum(m.gigabytes for m in self.missing),
        }  # fmt: skip
        if self.whole is not None:
            found["whole_suite"] = {"cells": self.all_cells, **_facts(self.whole)}
        if self.without:
            found["without"] = {name: _facts(e) if e is not None else None for name, e in self.without.items()}
        return found

    def show(self, console: Console) -> None:
        """Print; without a terminal nothing is coloured, and no line is cut or wrapped."""
        for part in self._parts():
            console.print(part, soft_wrap=True, highlight=False)

    def to_text(self) -> str:
        """The same, plain."""
        console = Console(width=80, no_color=True, force_terminal=False)
        with console.capture() as captured:
            self.show(console)
        return "\n".join(line.rstrip() for line in captured.get().splitlines())

    def _parts(self) -> Iterator[RenderableType]:
        e = self.estimate
        stages = sum(k.stages for k in e.kinds)
        yield Text(f"{self.suite}: {self.cells:,} cells, {stages:,} stages", style="bold")
        yield _stages(e)
        if e.backbones:
            yield _backbones(e)
        yield Group(*map(Text, self._totals(e)))
        if self.whole is not None:
            total = ", ".join(self._times(self.whole))
            kept = size(self.whole.work.disk)
            yield Text(f"whole suite, {self.all_cells:,} cells: {total}; the store keeps {kept}")
        for name, other in self.without.items():
            yield Text(f"--set {name}: {self._saved(other)}")
        if e.device == "cuda" and not self.gpu:
            yield Text("this machine has no NVIDIA GPU that could run it")
        if self.missing:
            size_ = sum(m.gigabytes for m in self.missing)
            head = f"missing here ({len(self.missing)}, {size_:.0f} GB; `drlbench fetch` brings what it can):"
            yield Text("\n".join(["", head, *(m.to_text() for m in self.missing)]))

    def _saved(self, other: Estimate | None) -> str:
        """What one override changes, the others as they are."""
        if other is None:
            return "the suite cannot do without it"
        mine, its = self.estimate.schedule, other.schedule
        pairs = (
            ("about {}", duration(mine.wall), duration(its.wall)),
            ("{} of work", duration(mine.work), duration(its.work)),
            ("{} kept", size(self.estimate.work.disk), size(other.work.disk)),
        )
        told = [f"{form.format(now)} instead of {then}" for form, now, then in pairs if now != then]
        return ", ".join(told) or "costs the same without it"

    def _times(self, e: Estimate) -> list[str]:
        unit = "GPU" if e.device == "cuda" else "worker"
        where = f"{e.workers} {unit}{'s' * (e.workers > 1)}"
        if self.nodes > 1:
            where += f" on {self.nodes} nodes"
        return [
            f"about {duration(e.schedule.wall)} on {where}",
            f"{duration(e.schedule.work)} of work",
            f"no faster than {duration(e.schedule.longest)}",
        ]

    def _totals(self, e: Estimate) -> Iterator[str]:
        yield "time: " + ", ".join(self._times(e)) + " (the longest chain of stages)"
        if e.device == "cuda":
            floor = sum(k.tflop for k in e.kinds) / PEAK_TFLOPS / HOUR
            hours = f"{e.schedule.work / HOUR:,.1f} GPU-hours"
            yield f"{hours}; {floor:,.1f} H200-hours at the floor of {PEAK_TFLOPS:.0f} TFLOP/s"
        yield f"store: {size(e.work.disk)} kept if every cell is, {size(e.peak_disk)} at most while it runs"
        memory = f"memory: about {size(e.memory)} of the host"
        if e.device == "cuda":
            memory += f", {size(e.work.device_memory)} of a GPU beside activations"
        yield memory
        used = {k.basis for k in e.kinds if k.left}
        yield from (MEANINGS[basis] for basis in MARKS if basis in used)
        yield from e.notes
        for why in e.unknown[:3]:
            yield f"not counted: {why}"
        if len(e.unknown) > 3:
            yield f"not counted: {len(e.unknown) - 3} more sorts of stages"


def _facts(e: Estimate) -> dict[str, Any]:
    kinds = [{**asdict(k), "seconds_each": k.seconds_each} for k in e.kinds]
    return {
        "device": e.device, "workers": e.workers, "kinds": kinds, "backbones": [asdict(b) for b in e.backbones],
        "seconds": e.schedule.work, "wall_seconds": e.schedule.wall, "longest_chain_seconds": e.schedule.longest,
        "gpu_hours": e.schedule.work / HOUR if e.device == "cuda" else 0.0,
        "disk_bytes": round(e.work.disk), "peak_disk_bytes": round(e.peak_disk), "memory_bytes": round(e.memory),
        "device_memory_bytes": round(e.work.device_memory), "basis": e.notes, "not_counted": e.unknown,
    }  # fmt: skip


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), show_edge=False)
    for number, name in enumerate(columns):
        table.add_column(name, justify="right" if number else "left", no_wrap=True)
    return table


def _stages(e: Estimate) -> Table:
    table = _table("stage", "all", "cached", "to do", "each", "in all", "TFLOP")
    for k in e.kinds:
        each = f"{k.seconds_each:,.1f} s" if k.seconds_each < 100 else duration(k.seconds_each)
        counts = (f"{k.stages:,}", f"{k.cached:,}", f"{k.left:,}")
        tflop = f"{k.tflop:,.3g}" if k.tflop < 1e4 else f"{k.tflop:.1e}"
        table.add_row(k.kind, *counts, each + MARKS[k.basis], duration(k.seconds), tflop)
    return table


def _backbones(e: Estimate) -> Table:
    table = _table("H200-hours", "forward", "fine-tune, floor", "paper", "all, floor", "all, expected")
    for b in e.backbones:
        paper = f"{b.paper_hours:.0f}" if b.paper_hours else "-"
        forward, longest = f"{b.forward_tflop:.3f} TFLOP", f"{b.fine_tune_floor:,.1f}"
        table.add_row(b.name, forward, longest, paper, f"{b.floor:,.0f}", f"{b.expected:,.0f}")
    return table


def cost_table(
    plan: Plan,
    store: Store,
    device: str = "cpu",
    workers: int = 1,
    whole: Plan | None = None,
    nodes: int = 1,
    without: Mapping[str, Plan | None] = MappingProxyType({}),
) -> Costs:
    """Count what is cached and estimate the rest.

    Args:
        device: "cpu" or "cuda". workers: processes, one GPU each on cuda. nodes: machines that they are on.
        whole: the plan of the whole suite, where `plan` is of some cells only.
        without: override -> the plan with all others but that one, None where there is none.
    """

    def estimate(of: Plan) -> Estimate:
        return Estimator(of, store, device).estimate(workers)

    others = {name: estimate(p) if p is not None else None for name, p in without.items()}
    total = estimate(whole) if whole is not None else None
    cells = len((whole or plan).cells)
    lacking = missing(plan.suite)
    return Costs(plan.spec.suite, len(plan.cells), cells, estimate(plan), total, lacking, has_gpu(), nodes, others)
