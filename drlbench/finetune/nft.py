"""DiffusionNFT, as its public code writes it.

Endpoints come from the old policy. r in [0, 1] is the advantage, clipped to +-5, over 10, plus 1/2. With
v+ = b v + (1 - b) v_old and v- = (1 + b) v_old - b v, and errors e+- of the clean-sample predictions,
loss = 5 mean[r L+/b + (1 - r) L-/b] + kl_weight mean|v - v_ref|^2, L = mean e^2 / sg(mean |e|).
v_old <- d v_old + (1 - d) v after every draw's updates, d = min(0.001 n, 0.5).

Without the adaptive weight one outer iteration's optimum is v_old + Cov_old(A, u | x_t)/(5 b): a mirror-descent
step that tilts by 1/(5 b) per unit of A and goes on tilting; there is no fixed target.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field
from torch import Tensor

from drlbench.finetune.endpoints import EndpointSettings, MatchingLearner, Rows, mean_square
from drlbench.finetune.snapshot import Snapshot
from drlbench.flow.ode import time_grid
from drlbench.flow.path import Velocity, column

ADVANTAGE_CLIP = 5.0
SMALLEST_ERROR = 1e-5


class NFTSettings(EndpointSettings):
    """Defaults are the published ones. Raw advantages make A = lambda (R - mean), still clipped to +-5."""

    advantage: Literal["raw", "standard"] = Field(
        "standard",
        description="raw: lambda (reward - mean of the group's others); standard: (reward - group's mean) / deviation",
    )
    guidance: float = Field(1.0, gt=0, description="b: the share of the new policy in v+ and v-")
    kl_weight: float = Field(1e-4, ge=0, description="of the squared distance to the reference velocity")
    decay_rate: float = Field(0.001, ge=0, description="d grows by this per outer iteration ...")
    decay_limit: float = Field(0.5, ge=0, lt=1, description="... up to this")


class NFT(MatchingLearner):
    """See the module."""

    name = "nft"
    kind = NFTSettings
    settings: NFTSettings

    @classmethod
    def rows_of_endpoint(cls, s: Any) -> int:
        """The rollout's times up to t_max, without the backbone's shift, which moves few of them across."""
        return max(1, sum(k / s.sampler_steps <= s.t_max for k in range(max(1, s.sampler_steps - 1))))

    @classmethod
    def beside(cls, s: Any) -> tuple[int, int, int]:
        return 1 + (s.kl_weight > 0), 1, 0

    def _prepare(self) -> None:
        super()._prepare()
        self.old = Snapshot(self)

    def draw_velocity(self) -> Velocity:
        return self.old.velocity

    def times_of(self, update: int) -> Tensor:
        """The rollout's own times but the least noisy one, for every endpoint: (batch, steps - 1)."""
        s = self.settings
        count = max(1, s.sampler_steps - 1)
        grid = time_grid(s.sampler_steps, self.policy.time_shift)[:count].float().to(self.device)
        return grid[grid <= s.t_max].expand(s.batch, -1)

    def row_loss(self, rows: Rows) -> Tensor:
        s = self.settings
        v = self.policy_velocity(rows.xt, rows.t, rows.y)
        old = self.no_grad(self.old.velocity, rows)
        noise = column(1 - rows.t, v)

        def matching(mixed: Tensor) -> Tensor:
            error = rows.xt + noise * mixed - rows.x1
            scale = error.detach().flatten(1).abs().mean(1).clamp_min(SMALLEST_ERROR)
            return mean_square(error) / scale

        b = s.guidance
        positive, negative = matching(b * v + (1 - b) * old), matching((1 + b) * old - b * v)
        r = rows.advantage.clamp(-ADVANTAGE_CLIP, ADVANTAGE_CLIP) / (2 * ADVANTAGE_CLIP) + 0.5
        loss = ADVANTAGE_CLIP * (r * positive + (1 - r) * negative) / b
        if s.kl_weight > 0:
            loss = loss + s.kl_weight * mean_square(v - self.no_grad(self.reference_velocity, rows))
        return loss

    def step(self) -> dict[str, float]:
        log = super().step()
        if self.used == self.order.updates:
            self.old.follow(min(self.settings.decay_rate * self.drawn_sets, self.settings.decay_limit))
        return log

    def _own_state(self) -> dict[str, Tensor]:
        return super()._own_state() | {f"old/{key}": value for key, value in self.old.state_dict().items()}

    def _load_own_state(self, state: dict[str, Tensor]) -> None:
        super()._load_own_state(state)
        self.old.load_state_dict({k.removeprefix("old/"): v for k, v in state.items() if k.startswith("old/")})
