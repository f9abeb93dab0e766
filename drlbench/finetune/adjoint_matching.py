"""Adjoint matching (arXiv 2409.08861) as the paper runs it: the reference method.

Trajectories of the memoryless SDE under the policy; the lean adjoint under the frozen reference from
a(1) = -lambda grad_x r(decode(X_1)); then passes of regression on
1/2 sum_k |(2/sigma_k)(v_theta - v_base) + sigma_k a_k|^2 over chosen timesteps.
Its optimum is p_base(x) exp(lambda r(x))/Z exactly, in the limit of small steps and without masking.

Shapes: K steps, B trajectories, m chosen timesteps, R = m B rows, C channels, H and W height and width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from drlbench.finetune.buffer import TrajectoryBuffer
from drlbench.finetune.evaluations import Evaluations, Rows, rows
from drlbench.finetune.finite import check_finite
from drlbench.finetune.learner import ORDER, TIMES, Learner
from drlbench.finetune.memory import Chunks
from drlbench.finetune.minibatches import Minibatches
from drlbench.finetune.outliers import OutlierThreshold
from drlbench.finetune.ranks import all_sum
from drlbench.finetune.regression import masked_regression
from drlbench.finetune.settings import Settings
from drlbench.finetune.timesteps import timestep_subset
from drlbench.flow.memoryless import Scheme, lean_adjoint, rollout, scheme

SAVE_LIMIT = 2**30  # bytes of buffer that may be written at any checkpoint
SECOND_PASS = 0.03
"""Share of the rows that the outlier mask runs again when they do not fit at once (docs/performance.md)."""


class AdjointMatchingSettings(Settings):
    """The paper's recipe for SiT-XL/2; `presets.py` holds the other backbones'."""

    steps: int = Field(100, ge=2, description="K")
    integrator: str = Field(
        "local-linear", description="of the memoryless SDE: a registered name, euler or local-linear"
    )
    buffer: int = Field(2304, ge=1, description="trajectories drawn at a time")
    passes: int = Field(5, ge=1, description="over a buffer")
    timestep_fraction: float = Field(
        0.4, gt=0, le=1, description="share of the K steps whose loss is computed, drawn anew for each update"
    )
    timestep_split: float = Field(0.6, gt=0, lt=1, description="t that divides the early from the late half")
    loss_over_timesteps: Literal["sum", "mean"] = Field(
        "sum", description="sum or mean of the losses of the chosen steps"
    )
    outlier_quantile: float | None = Field(0.9, gt=0, lt=1, description="alpha; none: nothing is masked")
    outlier_memory: float = Field(0.9, ge=0, lt=1, description="rho")
    outlier_spike_cap: float = Field(5.0, gt=1, description="c")
    reward_gradient_clip: float | None = Field(
        None, gt=0, description="largest norm of grad r per sample, before lambda; beyond the paper, and a bias"
    )
    rollout_batch: int | None = Field(None, ge=1, description="trajectories simulated at once")
    reward_batch: int | None = Field(None, ge=1, description="images decoded and scored at once")
    buffer_dtype: Literal["fp32", "bf16"] = Field("fp32", description="of the trajectories and adjoints that are kept")
    buffer_device: Literal["same", "host"] = Field("same", description="host: pinned memory")


class AdjointMatching(Learner):
    """Adjoint matching with a trajectory buffer; see the module for the objective."""

    name = "adjoint-matching"
    kind = AdjointMatchingSettings
    settings: AdjointMatchingSettings

    @classmethod
    def evaluations(cls, settings: Mapping[str, Any], updates: int, images: int = 0) -> Evaluations:
        """K forwards and, under the reference, K products and a forward; then passes over chosen timesteps."""
        s = cls.kind(**settings)
        buffers = math.ceil(updates / round(s.passes * s.buffer / s.batch))
        drawn = rows(s.buffer, s.rollout_batch).times(buffers)
        chosen = s.batch * min(s.steps, math.ceil(s.timestep_fraction * s.steps - 1e-9))
        again = SECOND_PASS if s.outlier_quantile is not None and (s.micro_batch or chosen) < chosen else 0.0
        return Evaluations(
            forwards=drawn.times(s.steps + 1),
            products=drawn.times(s.steps),
            trained=rows(chosen, s.micro_batch).times(updates * (1 + again)),
            reward_products=Rows(drawn.rows, math.ceil(drawn.rows / (s.reward_batch or s.rollout_batch or s.buffer))),
            held=2 * s.steps * s.buffer * (2 if s.buffer_dtype == "bf16" else 4),
        )

    def _prepare(self) -> None:
        s = self.settings
        self.table: Scheme = scheme(s.integrator, s.steps, self.policy.noise_scale)
        self.order = Minibatches(s.buffer, s.batch, s.passes, "buffer")
        self.buffer = TrajectoryBuffer(s.steps, len(self.order.own))
        self.rollout_chunks, self.reward_chunks = self.chunked(s.rollout_batch), Chunks(s.reward_batch)
        self.outliers = OutlierThreshold(s.outlier_quantile, s.outlier_memory, s.outlier_spike_cap)
        self.times = torch.tensor(self.table.t, device=self.device)  # (K + 1,)
        self.sigma = torch.tensor(self.table.sigma, device=self.device)  # (K,)
        self.filled = 0  # buffers drawn so far
        self.used = self.order.updates  # minibatches taken of the present one
        self.reward_mean = self.gradient_mean = 0.0

    def step(self) -> dict[str, float]:
        if self.used == self.order.updates:
            self._fill()
        s = self.settings
        timesteps = timestep_subset(
            s.steps, s.timestep_fraction, s.timestep_split, self.generator(TIMES, self.updater.updates)
        )
        places, _ = self.order.pick(self.used, lambda *turn: self.generator(ORDER, self.filled, *turn))
        x, target, y = self.buffer.rows(timesteps, places)
        m, b = x.shape[:2]
        x, target = x.flatten(0, 1), target.flatten(0, 1)  # (R, C, H, W)
        row_t = self.times[timesteps.to(self.device)].repeat_interleave(b)  # (R,)
        scale = (2 / self.sigma[timesteps.to(self.device)]).repeat_interleave(b)  # (R,)
        rows_y = y.to(self.device).repeat(m)  # (R,)
        share = 1 / s.batch if s.loss_over_timesteps == "sum" else 1 / (s.batch * m)

        def residual_of(which: slice | Tensor) -> Tensor:
            # A buffer on the host takes no indices that lie on a GPU.
            stored = which if isinstance(which, slice) else which.to(x.device)
            v = self.policy_velocity(x[stored].to(self.device).float(), row_t[which], rows_y[which])
            return scale[which, None] * (v - target[stored].to(self.device)).flatten(1)

        with self.recompute():
            log = masked_regression(residual_of, m * b, share, self.outliers, self.chunks, self.updater)
        self.used += 1
        return log | self.updater.step() | {"reward": self.reward_mean, "reward_gradient": self.gradient_mean}

    def _fill(self) -> None:
        """Draw a buffer: roll out, take the reward gradient through the decoder, run the lean adjoint."""
        s, own = self.settings, self.order.own
        self._allocate()
        rewards = torch.zeros(len(own), device=self.device)
        slopes = torch.zeros(len(own), device=self.device)
        half_variance = (self.sigma.square() / 2).reshape(-1, *[1] * 4)  # (K, 1, 1, 1, 1)

        def simulate(piece: slice) -> None:
            indices = [self.filled * s.buffer + i for i in own[piece]]
            y = self.labels(indices)
            states = rollout(self.policy_velocity, self.table, y, self.path_noise(indices))  # (K + 1, B, C, H, W)
            self._check(indices, state=states.transpose(0, 1))
            rewards[piece], gradient = self._reward_gradient(states[-1], y)
            self._check(indices, reward=rewards[piece], reward_gradient=gradient)
            slopes[piece] = gradient.flatten(1).norm(dim=1)
            if s.reward_gradient_clip is not None:
                factor = (s.reward_gradient_clip / slopes[piece].clamp_min(1e-30)).clamp_max(1.0)
                gradient = gradient * factor.reshape(-1, 1, 1, 1)
            adjoint, v_base = lean_adjoint(self.reference_velocity, self.table, states, y, -s.lam * gradient)
            self._check(indices, adjoint=adjoint.transpose(0, 1), reference_velocity=v_base.transpose(0, 1))
            self.buffer.put(piece, states[:-1], v_base.sub_(half_variance * adjoint), y)

        self.rollout_chunks.run(len(own), simulate)
        sums = all_sum(torch.stack([rewards.sum(), slopes.sum()])) / s.buffer
        self.reward_mean, self.gradient_mean = sums.tolist()
        self.filled, self.used = self.filled + 1, 0

    def _check(self, indices: list[int], **tensors: Tensor) -> None:
        """Hold tensors (B, ...) of these trajectories to being finite, each by its name."""
        for name, values in tensors.items():
            check_finite(self.updater.updates + 1, name.replace("_", " "), values, indices)

    def _allocate(self) -> None:
        s = self.settings
        pinned = s.buffer_device == "host" and self.device.type == "cuda"
        where = torch.device("cpu") if s.buffer_device == "host" else self.device
        dtype = torch.bfloat16 if s.buffer_dtype == "bf16" else torch.float32
        self.buffer.allocate(self.policy.latent_shape, dtype, where, pinned)

    def _reward_gradient(self, latents: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """r (B,) and its gradient in the latent (B, C, H, W), through the decoder."""
        assert self.reward is not None
        reward, policy = self.reward, self.policy
        scores = torch.zeros(len(latents), device=self.device)
        gradients = torch.zeros_like(latents)

        def score(piece: slice) -> None:
            x = latents[piece].detach().requires_grad_()
            with torch.enable_grad():
                found = reward(policy.decode(x), y[piece]).float()
                (gradients[piece],) = torch.autograd.grad(found.sum(), x)
            scores[piece] = found.detach()

        self.reward_chunks.run(len(latents), score)
        return scores, gradients

    def cheap_to_save(self) -> bool:
        stored = self.buffer.x.nbytes + self.buffer.target.nbytes
        return self.used == self.order.updates or stored < SAVE_LIMIT

    def _own_state(self) -> dict[str, Tensor]:
        tau = self.outliers.tau
        state = {
            "counters": torch.tensor([self.filled, self.used]),
            "threshold": torch.tensor(float("nan") if tau is None else tau, dtype=torch.float64),
            "means": torch.tensor([self.reward_mean, self.gradient_mean], dtype=torch.float64),
        }
        if self.used < self.order.updates:
            state |= {f"buffer/{name}": value for name, value in self.buffer.state_dict().items()}
        return state

    def _load_own_state(self, state: dict[str, Tensor]) -> None:
        self.filled, self.used = state["counters"].tolist()
        tau = float(state["threshold"])
        self.outliers.tau = None if tau != tau else tau
        self.reward_mean, self.gradient_mean = state["means"].tolist()
        if self.used < self.order.updates:
            self._allocate()
            self.buffer.load_state_dict({k.removeprefix("buffer/"): v for k, v in state.items() if "/" in k})
