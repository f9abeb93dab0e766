"""Measure what adjoint matching costs on this machine, and what the paper's recipe would cost.

The engine's own functions are timed on a network with random weights: rollout steps, lean-adjoint steps, update
rows and sampler steps, each in network evaluations per second. A trajectory of the recipe is K forwards, K
vector-Jacobian products and passes x 0.4 K forwards with backwards; the floor is that arithmetic at the measured
matrix peak. Decoder and reward are measured only when given: the stub reward costs nothing. With CUDA everything is
measured eager and compiled, and the faster of the two is extrapolated.

Shapes: B rows at once, K steps of the recipe.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from drlbench.backbones import create, wrap
from drlbench.backbones.base import Autoencoder, VelocityModel
from drlbench.errors import MissingPrerequisite
from drlbench.finetune.adjoint_matching import AdjointMatching, AdjointMatchingSettings
from drlbench.finetune.learner import shadow
from drlbench.finetune.presets import UPDATES, preset
from drlbench.registry import BACKBONES
from drlbench.rewards.base import Reward
from drlbench.sampling.memoryless import lean_adjoint, rollout
from drlbench.sampling.ode import heun, time_grid
from drlbench.store.provenance import hardware

FORWARDS_PER_VJP, FORWARDS_PER_TRAINED_ROW = 2, 3  # a forward and a backward to the input; and to the weights
PAPER_GPU_HOURS = {"sit": 190, "repa": 190, "jit": 500, "rae": 420}
SAMPLES, HEUN_EVALUATIONS = 50_000, 99
LARGEST_BATCH = 1024
PATIENCE = 20.0  # seconds: a phase that has taken so long is not repeated, and no larger batch is tried


@dataclass(frozen=True)
class Rate:
    """Network evaluations (forward, product or trained row) per second, and their share of the matrix peak."""

    per_second: float
    tflops: float
    share_of_peak: float


@dataclass(frozen=True)
class Mode:
    """Every phase, eager or compiled.

    Attributes:
        images_per_second: of the paper's Heun-50 sampling (99 evaluations, no guidance), without decoder.
        peak_memory_bytes: phase -> most that was allocated, on CUDA.
        warm_up_seconds: of the first pass through all phases, compilation included.
        hours: of the recipe by phase; total_hours: their sum.
    """

    rollout: Rate
    adjoint: Rate
    update: Rate
    sampling: Rate
    images_per_second: float
    peak_memory_bytes: dict[str, int]
    warm_up_seconds: float
    hours: dict[str, float]
    total_hours: float


@dataclass(frozen=True)
class BenchResult:
    """Everything measured, and the projection for one lambda of the paper's recipe on one such device.

    The phases, `hours` and memory are those of the faster one of `modes`; `compiled` says which that is.
    """

    backbone: str
    device: str
    machine: dict[str, Any]
    precision: str
    compiled: bool
    batch: int
    parameters: int
    forward_tflop: float
    peak_tflops: float
    peak_memory_bytes: int | None
    rollout: Rate
    adjoint: Rate
    update: Rate
    sampling: Rate
    trajectories: int
    floor_hours: float
    hours: dict[str, float] = field(default_factory=dict)
    total_hours: float = 0.0
    paper_hours: float | None = None
    modes: dict[str, Mode] = field(default_factory=dict)


class _NoReward(Reward):
    """Mean pixel: a gradient without a network."""

    name = signature = "mean-pixel"

    def forward(self, images: Tensor, y: Tensor) -> Tensor:
        return images.flatten(1).mean(1)


def bench(
    backbone: str,
    batch: int | Literal["auto"] = "auto",
    precision: Literal["fp32", "bf16"] | None = None,
    compiled: bool | None = None,
    device: str | None = None,
    autoencoder: Autoencoder | None = None,
    reward: Reward | None = None,
    measured_steps: int = 4,
    repeats: int = 3,
    **architecture: Any,
) -> BenchResult:
    """Time a backbone's rollout, adjoint, update and sampling.

    Args:
        backbone: a registered name or an official size, as "sit-xl-2".
        batch: rows at once; "auto" doubles until memory runs out or throughput stops growing.
        precision: bf16 on CUDA and fp32 elsewhere by default.
        compiled: by default both ways on CUDA, eager elsewhere.
        autoencoder, reward: included in the adjoint's time when given.
        measured_steps: SDE steps that are timed; the cost per step does not depend on their number.
        repeats: the best of so many is kept.
        architecture: constructor arguments that override those of a named size.

    Raises:
        UserError: unknown backbone or architecture argument. MissingPrerequisite: `batch` rows do not fit.
    """
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    on_cuda = where.type == "cuda"
    precision = precision or ("bf16" if on_cuda else "fp32")
    model = _random_model(backbone, autoencoder, architecture).to(where)
    flops = _forward_flops(model)
    # Eager first: blocks are compiled in place.
    wanted = [False, True] if compiled is None and on_cuda else [bool(compiled)]
    benches = {w: _Bench(model, reward or _NoReward(), precision, w, measured_steps, repeats) for w in wanted}
    size = benches[wanted[0]].best_batch() if batch == "auto" else batch
    peak = _matrix_peak(where, precision)
    family = _family(backbone)
    recipe = AdjointMatchingSettings(**preset("adjoint-matching", family if family in PAPER_GPU_HOURS else "sit"))
    trajectories = round(UPDATES["drl"] * recipe.batch / recipe.passes)
    rows = recipe.passes * math.ceil(recipe.timestep_fraction * recipe.steps)

    def mode(each: _Bench) -> Mode:
        seconds, memory, warm_up = each.all(size)

        def rate(name: str, forwards: int) -> Rate:
            per_second = 1 / seconds[name]
            tflops = per_second * forwards * flops / 1e12
            return Rate(per_second, tflops, tflops / peak)

        hours = {
            "rollout": trajectories * recipe.steps * seconds["rollout"] / 3600,
            "adjoint": trajectories * recipe.steps * seconds["adjoint"] / 3600,
            "update": trajectories * rows * seconds["update"] / 3600,
        }
        return Mode(
            rollout=rate("rollout", 1),
            adjoint=rate("adjoint", FORWARDS_PER_VJP),
            update=rate("update", FORWARDS_PER_TRAINED_ROW),
            sampling=rate("sampling", 1),
            images_per_second=1 / (HEUN_EVALUATIONS * seconds["sampling"]),
            peak_memory_bytes=memory,
            warm_up_seconds=warm_up,
            hours=hours | {"evaluation_samples": SAMPLES * HEUN_EVALUATIONS * seconds["sampling"] / 3600},
            total_hours=sum(hours.values()),
        )

    modes = {"compiled" if w else "eager": mode(each) for w, each in benches.items()}
    fastest = min(modes, key=lambda name: modes[name].total_hours)
    best = modes[fastest]
    per_trajectory = recipe.steps * (1 + FORWARDS_PER_VJP) + rows * FORWARDS_PER_TRAINED_ROW
    return BenchResult(
        backbone=backbone,
        device=torch.cuda.get_device_name(where) if on_cuda else "cpu",
        machine=hardware() | {"torch": torch.__version__},
        precision=precision,
        compiled=fastest == "compiled",
        batch=size,
        parameters=sum(p.numel() for p in model.net.parameters()),
        forward_tflop=flops / 1e12,
        peak_tflops=peak,
        peak_memory_bytes=max(best.peak_memory_bytes.values(), default=None),
        rollout=best.rollout,
        adjoint=best.adjoint,
        update=best.update,
        sampling=best.sampling,
        trajectories=trajectories,
        floor_hours=trajectories * per_trajectory * flops / (peak * 1e12) / 3600,
        hours=best.hours,
        total_hours=best.total_hours,
        paper_hours=PAPER_GPU_HOURS.get(family),
        modes=modes,
    )


def _family(backbone: str) -> str:
    return backbone if backbone in BACKBONES.names() else backbone.split("-")[0]


def _random_model(backbone: str, autoencoder: Autoencoder | None, architecture: dict[str, Any]) -> VelocityModel:
    """A network whose zero-initialised layers are filled, so that no gradient is identically zero."""
    net = create(backbone, **architecture)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in net.parameters():
            if p.requires_grad and not p.any():
                p.copy_(0.02 * torch.randn(p.shape, generator=generator))
    return wrap(net, autoencoder).eval()  # type: ignore[arg-type] # `create` is typed as any module


def _forward_flops(model: VelocityModel) -> int:
    """Floating-point operations of one evaluation of one row (multiply and add count as two)."""
    device = next(model.parameters()).device
    x, t = torch.zeros(1, *model.latent_shape, device=device), torch.zeros(1, device=device)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        model.velocity(x, t, torch.zeros(1, dtype=torch.int64, device=device))
    return counter.get_total_flops()


def _matrix_peak(device: torch.device, precision: str) -> float:
    """TFLOP/s of the best of a few large square matrix products."""
    size = 8192 if device.type == "cuda" else 1024
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a = torch.ones(size, size, device=device, dtype=dtype)
    best = min(_timed(lambda: a @ a, device) for _ in range(6))
    return 2 * size**3 / best / 1e12


def _timed(work: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


class _Bench:
    """Seconds per network evaluation of each phase at some batch, through the engine itself."""

    def __init__(
        self, model: VelocityModel, reward: Reward, precision: str, compiled: bool, steps: int, repeats: int
    ) -> None:
        self.model, self.reference, self.reward = model, shadow(model), reward
        self.settings = {"precision": precision, "compile": compiled, "steps": steps, "passes": 1}
        self.steps, self.repeats = steps, repeats

    def learner(self, batch: int) -> AdjointMatching:
        sizes = {"batch": batch, "buffer": batch, "micro_batch": batch, "timestep_fraction": 0.5}
        return AdjointMatching(self.model, self.reference, self.reward, None, self.settings | sizes, 0)

    def best_batch(self) -> int:
        """The batch after which doubling gains less than 3 % in updates, takes too long, or does not fit."""
        best, fastest, batch = 1, math.inf, 8
        while batch <= LARGEST_BATCH:
            started = time.perf_counter()
            run = self.learner(batch)
            work, rows = self._update(run)
            work()
            seconds = min(_timed(work, run.device) for _ in range(2)) / (rows * batch)
            if _shrunk(run):
                break
            if seconds > 0.97 * fastest:
                break
            best, fastest, batch = batch, seconds, 2 * batch
            if time.perf_counter() - started > PATIENCE:
                break
        return best

    def _update(self, run: AdjointMatching) -> tuple[Callable[[], object], int]:
        """One update on the same minibatch again, after the buffer is filled, and its timesteps."""

        def update() -> None:
            run.used = 0
            run.step()

        run.step()
        return update, math.ceil(0.5 * self.steps)

    def all(self, batch: int) -> tuple[dict[str, float], dict[str, int], float]:
        """Best seconds per evaluation and row of each phase, peak memory of each on CUDA, seconds of the first pass.

        Raises:
            MissingPrerequisite: the batch does not fit.
        """
        started = time.perf_counter()
        run = self.learner(batch)
        y, indices = run.labels(range(batch)), list(range(batch))
        update, chosen = self._update(run)
        if _shrunk(run):
            raise MissingPrerequisite(f"out of memory with {batch} rows at a time; give a smaller --batch, or auto")
        states = rollout(run.policy_velocity, run.table, y, run.path_noise(indices))
        grid = time_grid(self.steps)

        def adjoint() -> None:
            _, gradient = run._reward_gradient(states[-1], y)
            lean_adjoint(run.reference_velocity, run.table, states, y, -gradient)

        def sample() -> None:
            with torch.no_grad():
                heun(lambda x, t: run.policy_velocity(x, t, y), states[0], grid)

        phases: dict[str, tuple[Callable[[], object], int]] = {
            "rollout": (
                lambda: rollout(run.policy_velocity, run.table, y, run.path_noise(indices)),
                self.steps,
            ),
            "adjoint": (adjoint, self.steps),
            "update": (update, chosen),
            "sampling": (sample, 2 * self.steps - 1),
        }
        for work, _ in phases.values():
            work()
        warm_up = time.perf_counter() - started
        seconds, memory = {}, {}
        for name, (work, evaluations) in phases.items():
            if run.device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(run.device)
            best, spent = math.inf, 0.0
            for _ in range(self.repeats):
                took = _timed(work, run.device)
                best, spent = min(best, took), spent + took
                if spent > PATIENCE:
                    break
            seconds[name] = best / (evaluations * batch)
            if run.device.type == "cuda":
                memory[name] = torch.cuda.max_memory_allocated(run.device)
        return seconds, memory, warm_up


def _shrunk(run: AdjointMatching) -> bool:
    """Whether memory ran out, so that the engine took smaller chunks than it was asked to."""
    batch = run.settings.batch
    return any(chunks.size is not None and chunks.size < batch for chunks in (run.chunks, run.rollout_chunks))
