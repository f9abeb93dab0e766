"""Measure what adjoint matching costs on this machine, and what the paper's recipe would cost.

The engine's own functions are timed on a network with random weights: update rows, lean-adjoint steps, rollout steps
and sampler steps, each in network evaluations per second. A trajectory of the recipe is K forwards, K vector-Jacobian
products and passes x 0.4 K forwards with backwards; the floor is that arithmetic at the measured matrix peak. Decoder
and reward are measured only when given: the stub reward costs nothing. With CUDA everything is measured eager and then
compiled, and the faster of the two is extrapolated.

Within a limit of time, what matters most comes first, and what was not reached is told as such, never guessed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import torch

from drlbench.backbones import create, wrap
from drlbench.backbones.base import Autoencoder, VelocityModel
from drlbench.bench.phases import PHASES, NoReward, Phases, timed
from drlbench.bench.result import BenchResult, Mode, Rate, result_with
from drlbench.cost.counting import operations
from drlbench.cost.measured import PAPER_HOURS
from drlbench.errors import MissingPrerequisite
from drlbench.finetune.adjoint_matching import SECOND_PASS, AdjointMatchingSettings
from drlbench.finetune.presets import UPDATES, preset
from drlbench.registry import BACKBONES
from drlbench.rewards.base import Reward
from drlbench.store.provenance import hardware

SAMPLES, HEUN_EVALUATIONS = 50_000, 99
VJP, TRAINED = 2, 3  # a forward with the product for its input, and with the gradient of its weights, in forwards
FORWARDS = {"rollout": 1, "adjoint": VJP, "update": TRAINED, "sampling": 1}  # in one evaluation
COMPILATION = 90.0  # seconds: with less than that left of a limit, nothing is compiled


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
    limit: float | None = None,
    on_phase: Callable[[str], None] = lambda what: None,
    on_result: Callable[[BenchResult], None] = lambda result: None,
    **architecture: Any,
) -> BenchResult:
    """Time a backbone's update, adjoint, rollout and sampling, in that order, eager first.

    Args:
        backbone: a registered name or an official size, as "sit-xl-2".
        batch: rows at once; "auto" doubles until memory runs out or throughput stops growing.
        precision: bf16 on CUDA and fp32 elsewhere by default.
        compiled: by default both ways on CUDA, eager elsewhere.
        autoencoder, reward: included in the adjoint's time when given.
        measured_steps: SDE steps that are timed; the cost per step does not depend on their number.
        repeats: the best of so many is kept.
        limit: seconds after which nothing new is begun; what is under way is finished.
        on_phase: told what is about to be done.
        on_result: given the result so far after every phase.
        architecture: constructor arguments that override those of a named size.

    Raises:
        UserError: unknown backbone or architecture argument. MissingPrerequisite: `batch` rows do not fit.
    """
    started = time.perf_counter()
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    on_cuda = where.type == "cuda"
    precision = precision or ("bf16" if on_cuda else "fp32")
    on_phase("network")
    with where:  # a billion weights are drawn in no time on a GPU
        model = _random_model(backbone, autoencoder, architecture).to(where)
    # Eager first: blocks are compiled in place.
    wanted = [False, True] if compiled is None and on_cuda else [bool(compiled)]
    recipe = AdjointMatchingSettings(**preset("adjoint-matching", _recipe(backbone)))
    sheet = _Sheet(_forward_flops(model), _matrix_peak(where, precision), recipe)
    trajectories, rows = sheet.trajectories, sheet.rows
    per_trajectory = recipe.steps * (1 + VJP) + rows * TRAINED
    result = BenchResult(
        backbone=backbone,
        architecture=architecture,
        device=torch.cuda.get_device_name(where) if on_cuda else "cpu",
        machine=hardware() | {"torch": torch.__version__},
        precision=precision,
        compiled=False,
        batch=None,
        parameters=sum(p.numel() for p in model.net.parameters()),
        forward_tflop=sheet.flops / 1e12,
        peak_tflops=sheet.peak,
        peak_memory_bytes=None,
        **dict.fromkeys(PHASES),
        trajectories=trajectories,
        floor_hours=trajectories * per_trajectory * sheet.flops / (sheet.peak * 1e12) / 3600,
        hours={},
        total_hours=None,
        paper_hours=PAPER_HOURS.get(_family(backbone)),
        modes=dict.fromkeys("compiled" if w else "eager" for w in wanted),
        not_measured=[],
        seconds=0.0,
    )

    def remaining() -> float:
        return math.inf if limit is None else limit - (time.perf_counter() - started)

    size = None if batch == "auto" else batch
    failed: dict[str, str] = {}

    def keep(name: str | None = None, mode: Mode | None = None) -> None:
        nonlocal result
        reason = "under way" if name else "" if limit is None else f"the limit of {limit:g} s"
        found = replace(result, batch=size, seconds=time.perf_counter() - started)
        result = result_with(found, name, mode, failed, reason)
        on_result(result)

    for name, compile_it in zip(list(result.modes), wanted, strict=True):
        if remaining() <= (COMPILATION if compile_it else 0):
            continue
        phases = Phases(model, reward or NoReward(), precision, compile_it, measured_steps, repeats)
        try:
            if size is None:
                on_phase(f"{name}: batch")
                size = phases.best_batch(remaining)
            on_phase(f"{name}: warm-up at batch {size}")
            mode = Mode(warm_up_seconds=timed(partial(phases.prepare, size), where))
            for phase in PHASES:
                if remaining() > 0:
                    on_phase(f"{name}: {phase}")
                    mode = sheet.enter(mode, phase, phases.time(phase, remaining))
                    if on_cuda:
                        peak = {phase: torch.cuda.max_memory_allocated(where)}
                        mode = replace(mode, peak_memory_bytes=mode.peak_memory_bytes | peak)
                    keep(name, mode)
        except (MissingPrerequisite, RuntimeError) as error:
            if result.total_hours is None:
                raise  # there is nothing yet that would be lost
            failed[name] = str(error).strip().partition("\n")[0]
        phases.release()
    keep()
    return result


@dataclass(frozen=True)
class _Sheet:
    """From seconds of an evaluation to a phase's figures: operations of a forward, matrix peak in TFLOP/s, recipe."""

    flops: int
    peak: float
    recipe: AdjointMatchingSettings

    @property
    def trajectories(self) -> int:
        return round(UPDATES["drl"] * self.recipe.batch / self.recipe.passes)

    @property
    def rows(self) -> int:
        """Trained rows of one trajectory."""
        return self.recipe.passes * math.ceil(self.recipe.timestep_fraction * self.recipe.steps)

    def enter(self, mode: Mode, phase: str, seconds: float) -> Mode:
        """A mode with one phase more, at so many seconds an evaluation."""
        tflops = FORWARDS[phase] * self.flops / 1e12 / seconds
        rate = Rate(1 / seconds, tflops, tflops / self.peak)
        if phase == "sampling":
            images = 1 / (HEUN_EVALUATIONS * seconds)
            hours = {"evaluation_samples": SAMPLES / images / 3600}
            return replace(mode, sampling=rate, images_per_second=images, hours=mode.hours | hours)
        evaluations = self.rows * (1 + SECOND_PASS) if phase == "update" else self.recipe.steps
        hours = mode.hours | {phase: self.trajectories * evaluations * seconds / 3600}
        recipe = [hours.get(name) for name in PHASES if name != "sampling"]
        total = sum(h for h in recipe if h is not None) if None not in recipe else None
        return replace(mode, **{phase: rate}, hours=hours, total_hours=total)  # type: ignore[arg-type] # a field's name


def _family(backbone: str) -> str:
    return backbone if backbone in BACKBONES.names() else backbone.split("-")[0]


def _recipe(backbone: str) -> str:
    """Whose settings are extrapolated; SiT's for a backbone that the paper does not have."""
    family = _family(backbone)
    return family if family in PAPER_HOURS else "sit"


def _random_model(backbone: str, autoencoder: Autoencoder | None, architecture: dict[str, Any]) -> VelocityModel:
    """A network whose zero-initialised layers are filled, so that no gradient is identically zero."""
    net = create(backbone, **architecture)
    with torch.no_grad():
        for number, p in enumerate(net.parameters()):
            if p.requires_grad and not p.any():
                generator = torch.Generator(p.device).manual_seed(number)
                p.copy_(0.02 * torch.randn(p.shape, generator=generator, device=p.device))
    return wrap(net, autoencoder).eval()  # type: ignore[arg-type] # `create` is typed as any module


def _forward_flops(model: VelocityModel) -> int:
    """Floating-point operations of one evaluation of one row (multiply and add count as two)."""
    device = next(model.parameters()).device
    x, t = torch.zeros(1, *model.latent_shape, device=device), torch.zeros(1, device=device)
    with torch.no_grad():
        return operations(lambda: model.velocity(x, t, torch.zeros(1, dtype=torch.int64, device=device)))


def _matrix_peak(device: torch.device, precision: str) -> float:
    """TFLOP/s of the best of a few large square matrix products."""
    size = 8192 if device.type == "cuda" else 1024
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    generator = torch.Generator(device).manual_seed(0)  # equal numbers would cost less power, and so flatter a GPU
    a = torch.randn(size, size, generator=generator, device=device).to(dtype)
    best = min(timed(lambda: a @ a, device) for _ in range(6))
    return 2 * size**3 / best / 1e12
