"""Flow-GRPO: policy gradient on the transitions of an SDE, as published and with the KL inside the return.

published (its public code, late July 2025): SDE with diffusion eta sqrt((1 - t)/t), group-normalised clipped
advantages, PPO clip on the mean log-density per dimension, plus kl_weight mean|mean - mean_ref|^2/(2 g^2) as a
loss term without dt. Not memoryless at eta = 0.7 and regularised per step only, so it has no exact target.

memoryless: the transitions of adjoint matching's own SDE, log-densities summed over dimensions, and return to go
G_k = lambda r - sum_{j > k} KL_j with KL_j = drive_j^2 |v - v_ref|^2/(2 spread_j^2), baseline the mean of the rest
of the group, plus the direct derivative of KL_k. Its optimum is p_ref exp(lambda r)/Z.

Shapes: K steps, N endpoints of this rank, b in a minibatch, R = b K' rows, K' trained transitions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from drlbench.finetune.endpoints import EndpointLearner, EndpointSettings, RowSet
from drlbench.finetune.ranks import all_sum
from drlbench.flow.memoryless import Scheme, rollout, scheme
from drlbench.flow.path import Velocity


class FlowGRPOSettings(EndpointSettings):
    """Defaults are the published ones; with standard advantages lambda cancels in the normalisation."""

    variant: Literal["published", "memoryless"] = Field(
        "published",
        description="published: SDE with noise eta and a clipped ratio; memoryless: the SDE of adjoint matching",
    )
    advantage: Literal["raw", "standard"] = Field(
        "standard",
        description="published variant: raw or standard, as in ram; the memoryless one has raw returns of its own",
    )
    eta: float = Field(0.7, gt=0, description="published variant: size of the SDE's noise")
    timestep_fraction: float = Field(
        0.99, gt=0, le=1, description="trained share of the published steps, earliest first"
    )
    clip_range: float = Field(
        1e-4, gt=0, description="published variant: how far the ratio of likelihoods may be from 1"
    )
    advantage_clip: float = Field(5.0, gt=0, description="published variant: largest absolute advantage")
    kl_weight: float = Field(0.04, ge=0, description="of the published variant; the memoryless one has its KL as it is")


def published_sde(steps: int, eta: float, noise_scale: float) -> Scheme:
    """Euler-Maruyama of dX = [v + (h/2)(t v - X)/(1 - t)] dt + s sqrt(h) dB, h = eta^2 (1 - t)/t.

    At t = 0 the denominator t is replaced by the next grid time, as in the public code.
    """
    dt = 1 / steps
    t = [k / steps for k in range(steps + 1)]
    h = [eta**2 * (1 - t[k]) / (t[k] if k else dt) for k in range(steps)]
    keep = tuple(1 - h[k] * dt / (2 * (1 - t[k])) for k in range(steps))
    drive = tuple((1 + h[k] * t[k] / (2 * (1 - t[k]))) * dt for k in range(steps))
    spread = tuple(noise_scale * math.sqrt(h[k] * dt) for k in range(steps))
    sigma = tuple(noise_scale * math.sqrt(h[k]) for k in range(steps))
    return Scheme("flow-grpo", steps, noise_scale, tuple(t), keep, drive, spread, (), (), sigma)


@dataclass
class Transitions(RowSet):
    """R transitions: state x and next state (R, C, H, W), coefficients (R,), reference and old velocity."""

    x: Tensor
    after: Tensor
    keep: Tensor
    drive: Tensor
    spread: Tensor
    sigma: Tensor
    reference: Tensor
    old: Tensor


class FlowGRPO(EndpointLearner[Transitions]):
    """See the module."""

    name = "flow-grpo"
    kind = FlowGRPOSettings
    settings: FlowGRPOSettings

    @classmethod
    def rows_of_endpoint(cls, s: Any) -> int:
        """Trained transitions; the last step of the memoryless variant is deterministic."""
        return max(1, int(s.timestep_fraction * s.sampler_steps)) if s.variant == "published" else s.sampler_steps - 1

    @classmethod
    def evaluations_of_endpoint(cls, s: Any) -> int:
        """The policy at every step, and the reference wherever it is trained."""
        return int(s.sampler_steps) + cls.rows_of_endpoint(s)

    @classmethod
    def beside(cls, s: Any) -> tuple[int, int, int]:
        return 0, 0, s.sampler_steps + 1 + 2 * cls.rows_of_endpoint(s)

    def _prepare(self) -> None:
        super()._prepare()
        s = self.settings
        if s.variant == "published":
            self.table = published_sde(s.sampler_steps, s.eta, self.policy.noise_scale)
        else:
            self.table = scheme("local-linear", s.sampler_steps, self.policy.noise_scale)
        self.trained = self.rows_of_endpoint(s)
        count, shape = len(self.own), self.policy.latent_shape
        self.states = torch.zeros(s.sampler_steps + 1, count, *shape, device=self.device)
        self.old = torch.zeros(self.trained, count, *shape, device=self.device)
        self.anchor = torch.zeros(self.trained, count, *shape, device=self.device)

    def sample(self, velocity: Velocity, indices: list[int], y: Tensor, piece: slice) -> Tensor:
        """SDE endpoints; states and both velocities along the way are kept."""
        found: list[Tensor] = []

        def recording(x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
            found.append(velocity(x, t, labels))
            return found[-1]

        self.states[:, piece] = rollout(recording, self.table, y, self.path_noise(indices))
        self.old[:, piece] = torch.stack(found[: self.trained])
        with torch.no_grad():
            for k in range(self.trained):
                t = torch.full((len(y),), self.table.t[k], device=self.device)
                self.anchor[k, piece] = self.reference_velocity(self.states[k, piece], t, y)
        return self.states[-1, piece]

    def step_advantages(self) -> Tensor:
        """Advantage of each transition (K', all endpoints of the draw), the same on every rank."""
        s = self.settings
        if s.variant == "published":
            return self.advantage.clamp(-s.advantage_clip, s.advantage_clip).expand(self.trained, -1)
        gap = (self.old - self.anchor).flatten(2).square().sum(2)  # (K', N)
        cost = self._column(self.table.drive).square() * gap / (2 * self._column(self.table.spread).square())
        cost = all_sum(torch.zeros(self.trained, s.endpoints, device=self.device).index_copy_(1, self.own, cost))
        # Summed in float64 and rounded each time, as a CPU's cumsum does; CUDA's refuses to promise an order.
        running = list(accumulate(cost.flip(0).double()))
        later = torch.stack(running).to(cost.dtype).flip(0) - cost  # sum over j > k
        returns = (s.lam * self.rewards - later).view(self.trained, -1, s.group)
        others = (returns.sum(2, keepdim=True) - returns) / (s.group - 1)
        return (returns - others).flatten(1)

    def _column(self, values: tuple[float, ...]) -> Tensor:
        return torch.tensor(values[: self.trained], device=self.device)[:, None]

    def rows(self, places: Tensor, positions: Tensor) -> Transitions:
        count = len(places)

        def spread_out(values: tuple[float, ...]) -> Tensor:
            return self._column(values).expand(-1, count).flatten()

        def picked(values: Tensor) -> Tensor:
            return values[: self.trained, places].flatten(0, 1)

        table, advantage = self.table, self.step_advantages()[:, self.own[places]]
        return Transitions(
            spread_out(table.t), self.y[places].repeat(self.trained), advantage.flatten(),
            picked(self.states), picked(self.states[1:]), spread_out(table.keep), spread_out(table.drive),
            spread_out(table.spread), spread_out(table.sigma), picked(self.anchor), picked(self.old),
        )  # fmt: skip

    def row_loss(self, rows: Transitions) -> Tensor:
        s = self.settings
        v = self.policy_velocity(rows.x, rows.t, rows.y)
        shape = (-1, *[1] * (v.ndim - 1))
        keep, drive = rows.keep.reshape(shape), rows.drive.reshape(shape)

        def log_density(velocity: Tensor) -> Tensor:  # per dimension, up to a constant
            error = rows.after - keep * rows.x - drive * velocity
            return -error.flatten(1).square().mean(1) / (2 * rows.spread.square())

        dims = v[0].numel()
        moved = (drive * (v - rows.reference)).flatten(1).square()
        change = log_density(v) - log_density(rows.old)
        if s.variant == "memoryless":
            kl = moved.sum(1) / (2 * rows.spread.square())
            return -rows.advantage * torch.exp(dims * change) + kl
        ratio = torch.exp(change)
        clipped = ratio.clamp(1 - s.clip_range, 1 + s.clip_range)
        policy_loss = torch.maximum(-rows.advantage * ratio, -rows.advantage * clipped)
        return policy_loss + s.kl_weight * moved.mean(1) / (2 * rows.sigma.square())

    def _own_state(self) -> dict[str, Tensor]:
        return super()._own_state() | {"states": self.states, "old": self.old, "anchor": self.anchor}

    def _load_own_state(self, state: dict[str, Tensor]) -> None:
        super()._load_own_state(state)
        for name in ("states", "old", "anchor"):
            getattr(self, name).copy_(state[name])
