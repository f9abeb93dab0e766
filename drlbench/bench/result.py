"""The figures of `drlbench bench`: rates by phase, eager and compiled, and what was not measured."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from drlbench.bench.phases import PHASES


@dataclass(frozen=True)
class Rate:
    """Network evaluations (forward, product or trained row) per second, and their share of the matrix peak."""

    per_second: float
    tflops: float
    share_of_peak: float


@dataclass(frozen=True)
class Mode:
    """The phases that were measured, eager or compiled; None for one that was not.

    Attributes:
        images_per_second: of the paper's Heun-50 sampling (99 evaluations, no guidance), without decoder.
        peak_memory_bytes: phase -> most that was allocated, on CUDA.
        warm_up_seconds: of the first buffer and update, compilation included.
        hours: of the recipe by phase; total_hours: of rollout, adjoint and update, None until all are measured.
    """

    update: Rate | None = None
    adjoint: Rate | None = None
    rollout: Rate | None = None
    sampling: Rate | None = None
    images_per_second: float | None = None
    peak_memory_bytes: dict[str, int] = field(default_factory=dict)
    warm_up_seconds: float = 0.0
    hours: dict[str, float] = field(default_factory=dict)
    total_hours: float | None = None


@dataclass(frozen=True)
class BenchResult:
    """Everything measured so far, and the projection for one lambda of the paper's recipe on one such device.

    The phases, `hours` and memory are those of the faster one of `modes`; `compiled` says which that is. `modes` holds
    None for one that was not begun, and `not_measured` names every gap with its reason. `seconds` is what it all took.
    """

    backbone: str
    architecture: dict[str, Any]
    device: str
    machine: dict[str, Any]
    precision: str
    compiled: bool
    batch: int | None
    parameters: int
    forward_tflop: float
    peak_tflops: float
    peak_memory_bytes: int | None
    update: Rate | None
    adjoint: Rate | None
    rollout: Rate | None
    sampling: Rate | None
    trajectories: int
    floor_hours: float
    hours: dict[str, float]
    total_hours: float | None
    paper_hours: float | None
    modes: dict[str, Mode | None]
    not_measured: list[str]
    seconds: float


def result_with(
    result: BenchResult, name: str | None, mode: Mode | None, failed: Mapping[str, str], reason: str
) -> BenchResult:
    """A result with a mode's present state in it, the figures of the best mode on top, and its gaps named."""
    modes = result.modes if name is None else result.modes | {name: mode}
    begun = {n: m for n, m in modes.items() if m is not None}
    gaps = {n: n for n, m in modes.items() if m is None}
    gaps |= {f"{n}: {phase}": n for n, m in begun.items() for phase in PHASES if getattr(m, phase) is None}
    found = replace(result, modes=modes, not_measured=[f"{g} ({failed.get(n, reason)})" for g, n in gaps.items()])
    if not begun:
        return found
    fastest = min(begun, key=lambda n: begun[n].total_hours or math.inf)
    best = begun[fastest]
    return replace(
        found,
        compiled=fastest == "compiled",
        peak_memory_bytes=max(best.peak_memory_bytes.values(), default=None),
        update=best.update,
        adjoint=best.adjoint,
        rollout=best.rollout,
        sampling=best.sampling,
        hours=best.hours,
        total_hours=best.total_hours,
    )
