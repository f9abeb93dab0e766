"""What `drlbench bench` times: the engine's own rollout, adjoint, update and sampling, at one batch.

Shapes: B rows at once, K measured steps of the SDE.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable

import torch
from torch import Tensor

from drlbench.backbones.base import VelocityModel
from drlbench.errors import MissingPrerequisite
from drlbench.finetune.adjoint_matching import AdjointMatching
from drlbench.finetune.learner import shadow
from drlbench.flow.memoryless import lean_adjoint, rollout
from drlbench.flow.ode import heun, time_grid
from drlbench.rewards.base import Reward

PHASES = ("update", "adjoint", "rollout", "sampling")
"""In the order of what they weigh in the recipe's hours; sampling is no part of them."""

LARGEST_BATCH, SMALLEST_BATCH, FIRST_BATCH = 1024, 8, 64
GAIN = 0.97  # a batch twice as large must take less than this share of the time of a row
PATIENCE = 20.0  # seconds: a phase that has taken so long is not repeated, and no larger batch is tried
ROOM = 0.8  # share of the free memory that a first batch may take by what a small one took
FRACTION = 0.5  # of the measured steps that an update trains

Remaining = Callable[[], float]
"""Seconds of the budget that are left; infinite without one."""


class NoReward(Reward):
    """Mean pixel: a gradient without a network."""

    name = signature = "mean-pixel"

    def forward(self, images: Tensor, y: Tensor) -> Tensor:
        return images.flatten(1).mean(1)


class Phases:
    """Seconds of each phase through the engine itself, eager or compiled.

    The outlier mask is off, since its second pass depends on what the residuals are: on random weights it would time
    something else than training does. `drlbench.finetune.adjoint_matching.SECOND_PASS` accounts for it.
    """

    def __init__(
        self, model: VelocityModel, reward: Reward, precision: str, compiled: bool, steps: int, repeats: int
    ) -> None:
        self.model, self.reference, self.reward = model, shadow(model), reward
        self.settings = {
            "precision": precision, "compile": compiled, "steps": steps, "passes": 1, "outlier_quantile": None,
            "timestep_fraction": FRACTION,
        }  # fmt: skip
        self.steps, self.repeats, self.rows = steps, repeats, math.ceil(FRACTION * steps)
        self.run: AdjointMatching | None = None
        self.batch = 0

    def best_batch(self, remaining: Remaining) -> int:
        """The batch after which doubling gains less than 3 % in updates, takes too long, or does not fit."""
        batch, best, fastest = self._first_batch(), SMALLEST_BATCH, math.inf
        while batch <= LARGEST_BATCH:
            started = time.perf_counter()
            fits = self._prepare(batch)
            if fits < batch:
                # What does not fit is not tried in halves: the engine has found by itself what does.
                return fits if math.isinf(fastest) else best
            # The phases come after this, and the next batch takes twice as long.
            if 8 * (time.perf_counter() - started) > remaining():
                return batch if math.isinf(fastest) else best
            seconds = self.time("update", remaining, repeats=2)
            if seconds > GAIN * fastest:
                break
            best, fastest, batch = batch, seconds, 2 * batch
            if (took := time.perf_counter() - started) > PATIENCE or 8 * took > remaining():
                break
        return best

    def _first_batch(self) -> int:
        """On CUDA what fits by the memory of a small batch: no time goes into climbing, or into what cannot fit."""
        device = next(self.model.parameters()).device
        if device.type != "cuda":
            return SMALLEST_BATCH
        self._prepare(SMALLEST_BATCH)
        settled = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        self._update()
        row = (torch.cuda.max_memory_allocated(device) - settled) / SMALLEST_BATCH
        free, _ = torch.cuda.mem_get_info(device)
        free += torch.cuda.memory_reserved(device) - settled
        return max(SMALLEST_BATCH, min(FIRST_BATCH, 2 ** int(math.log2(max(1.0, ROOM * free / max(row, 1.0))))))

    def prepare(self, batch: int) -> None:
        """Set up a batch and go through a buffer and an update once, compilation included.

        Raises:
            MissingPrerequisite: the batch does not fit.
        """
        if self._prepare(batch) < batch:
            raise MissingPrerequisite(f"out of memory with {batch} rows at a time; give a smaller --batch, or auto")

    def _prepare(self, batch: int) -> int:
        """As `prepare`; the batch that does fit."""
        if self.run is not None and self.batch == batch:
            return batch
        self.release()
        sizes = {"batch": batch, "buffer": batch, "micro_batch": batch}
        self.run = run = AdjointMatching(self.model, self.reference, self.reward, None, self.settings | sizes, 0)
        run.step()
        self.batch = min(chunks.size or batch for chunks in (run.chunks, run.rollout_chunks))
        if self.batch < batch:
            fits = self.batch
            self.release()
            return fits
        self.indices = list(range(batch))
        self.y = run.labels(self.indices)
        self.states = rollout(run.policy_velocity, run.table, self.y, run.path_noise(self.indices))
        return batch

    def release(self) -> None:
        """Give back a batch's memory: an engine refers to itself, so it goes only when it is collected."""
        self.run, self.batch, self.states = None, 0, torch.empty(0)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    @property
    def engine(self) -> AdjointMatching:
        assert self.run is not None, "`prepare` comes first"
        return self.run

    def _update(self) -> None:
        """The same minibatch again, with the buffer as it is."""
        self.engine.used = 0
        self.engine.step()

    def _adjoint(self) -> None:
        run = self.engine
        _, gradient = run._reward_gradient(self.states[-1], self.y)
        lean_adjoint(run.reference_velocity, run.table, self.states, self.y, -gradient)

    def _rollout(self) -> None:
        run = self.engine
        rollout(run.policy_velocity, run.table, self.y, run.path_noise(self.indices))

    def _sampling(self) -> None:
        with torch.no_grad():
            heun(lambda x, t: self.engine.policy_velocity(x, t, self.y), self.states[0], time_grid(self.steps))

    def time(self, phase: str, remaining: Remaining, repeats: int | None = None) -> float:
        """Best seconds of one evaluation of one row, after one round that is not counted.

        It is repeated as long as neither `PATIENCE` nor the budget is used up, and once in any case.
        """
        work, evaluations = {
            "update": (self._update, self.rows),
            "adjoint": (self._adjoint, self.steps),
            "rollout": (self._rollout, self.steps),
            "sampling": (self._sampling, 2 * self.steps - 1),
        }[phase]
        device = self.engine.device
        warm = timed(work, device)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        best, spent = math.inf, 0.0
        for _ in range(repeats or self.repeats):
            took = timed(work, device)
            best, spent = min(best, took), spent + took
            if spent > PATIENCE or remaining() < min(warm, took):
                break
        return best / (evaluations * self.batch)


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of the clock until the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start
