"""Reward-weighted flow matching on the base model's own samples: exact, offline, limited by its sample size.

The minimiser of E_base[exp(lambda r(X_1)) |v(X_t, t) - u|^2] is the velocity of p_base exp(lambda r)/Z.
Weights are normalised to mean 1 within each class, because the class marginal is given. The effective sample
share (sum w)^2/(N sum w^2) says how much of the pool carries the fit.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from drlbench.finetune.endpoints import EndpointSettings, MatchingLearner, Rows, mean_square
from drlbench.flow.path import Velocity


class RWMSettings(EndpointSettings):
    """One pool of base samples is drawn once and used for all updates."""

    endpoints: int = Field(46080, description="samples of the base in the pool")
    passes: int = Field(1_000_000, ge=1, description="over the pool; then another pool is drawn")
    sampler_steps: int = Field(50, description="steps of the sampler that draws endpoints")
    times: int = Field(1, description="noise levels per endpoint and update")


class RWM(MatchingLearner):
    """See the module."""

    name = "rwm"
    kind = RWMSettings
    share = 0.0  # effective sample share of the pool

    def draw_velocity(self) -> Velocity:
        return self.reference_velocity

    def advantages(self) -> Tensor:
        """Weights (N,) with mean 1 per class, in place of advantages."""
        s = self.settings
        classes = self.labels([i // s.group for i in range(s.endpoints)])
        weights = torch.zeros_like(self.rewards)
        for c in classes.unique().tolist():
            members = classes == c
            weights[members] = (s.lam * self.rewards[members]).softmax(0) * members.sum()
        self.share = float(weights.sum() ** 2 / (len(weights) * weights.square().sum()))
        return weights

    def step(self) -> dict[str, float]:
        return super().step() | {"effective_sample_share": self.share}

    def row_loss(self, rows: Rows) -> Tensor:
        v = self.policy_velocity(rows.xt, rows.t, rows.y)
        return rows.advantage * mean_square(v - rows.target)
