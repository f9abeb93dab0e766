"""Advantage-weighted matching (AWM), as its public code writes it.

"Log-likelihood" l = -w |v - u|^2 averaged over dimensions; PPO ratio exp(l - l_old) on the same noise and time;
loss = max(-A r, -A clip(r, 1 -/+ c)) + kl_weight mean|v - v_ref|^2 + anchor_weight mean|v - v_ema|^2.
With ratio 1, uniform weighting, raw advantages and kl_weight 1 the stationary point is RAM's.

Where our source does not settle a detail: the moving anchor is updated once per draw with a constant decay.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from drlbench.finetune.endpoints import EndpointSettings, MatchingLearner, Rows, mean_square
from drlbench.finetune.snapshot import Snapshot

HUBER_POWER, HUBER_EPSILON = 0.25, 1e-4


class AWMSettings(EndpointSettings):
    """Defaults are the published ones, advantages included: lambda then cancels in the normalisation."""

    advantage: Literal["raw", "standard"] = Field(
        "standard",
        description="raw: lambda (reward - mean of the group's others); standard: (reward - group's mean) / deviation",
    )
    times: int = Field(6, ge=1, description="noise levels per endpoint and update")
    sampler_steps: int = Field(14, ge=1, description="steps of the sampler that draws endpoints")
    weighting: Literal["uniform", "noise", "noise-squared", "ghuber"] = Field(
        "ghuber", description="w(t) of the matching error"
    )
    clip_range: float = Field(1.0, gt=0, description="c of the clipped ratio")
    advantage_clip: float | None = Field(5.0, gt=0, description="then scaled to +-1; only for standard advantages")
    kl_weight: float = Field(1e-3, ge=0, description="of the squared distance to the reference velocity")
    anchor_weight: float = Field(1.0, ge=0, description="of the squared distance to the moving anchor")
    anchor_decay: float = Field(0.3, ge=0, lt=1, description="decay of the moving anchor, once per draw")


class AWM(MatchingLearner):
    """See the module."""

    name = "awm"
    kind = AWMSettings
    settings: AWMSettings

    @classmethod
    def beside(cls, s: Any) -> tuple[int, int, int]:
        copies = (cls.updates_per_draw(s) > 1) + (s.anchor_weight > 0)
        return copies + (s.kl_weight > 0), copies, 0

    def _prepare(self) -> None:
        super()._prepare()
        # With one update per draw the old policy is the current one and no copy is needed.
        self.old = Snapshot(self) if self.order.updates > 1 else None
        self.anchor = Snapshot(self) if self.settings.anchor_weight > 0 else None

    def after_draw(self) -> None:
        if self.old is not None:
            self.old.follow(0.0)
        if self.anchor is not None:
            self.anchor.follow(self.settings.anchor_decay)

    def likelihood(self, v: Tensor, rows: Rows) -> Tensor:
        """l (R,): minus the weighted matching error."""
        error, noise = mean_square(v - rows.target), 1 - rows.t
        match self.settings.weighting:
            case "uniform":
                return -error
            case "noise":
                return -noise * error
            case "noise-squared":
                return -noise.square() * error
            case "ghuber":
                p, e = HUBER_POWER, HUBER_EPSILON
                return -(noise / p) * ((error + e) ** p - e**p)

    def row_loss(self, rows: Rows) -> Tensor:
        s = self.settings
        v = self.policy_velocity(rows.xt, rows.t, rows.y)
        now = self.likelihood(v, rows)
        before = now.detach() if self.old is None else self.likelihood(self.no_grad(self.old.velocity, rows), rows)
        ratio, a = torch.exp(now - before), rows.advantage
        if s.advantage == "standard" and s.advantage_clip is not None:
            a = a.clamp(-s.advantage_clip, s.advantage_clip) / s.advantage_clip
        clipped = ratio.clamp(1 - s.clip_range, 1 + s.clip_range)
        loss = torch.maximum(-a * ratio, -a * clipped)
        if s.kl_weight > 0:
            loss = loss + s.kl_weight * mean_square(v - self.no_grad(self.reference_velocity, rows))
        if self.anchor is not None:
            loss = loss + s.anchor_weight * mean_square(v - self.no_grad(self.anchor.velocity, rows))
        return loss

    def _own_state(self) -> dict[str, Tensor]:
        state = super()._own_state()
        for name, copy in (("old", self.old), ("anchor", self.anchor)):
            if copy is not None:
                state |= {f"{name}/{key}": value for key, value in copy.state_dict().items()}
        return state

    def _load_own_state(self, state: dict[str, Tensor]) -> None:
        super()._load_own_state(state)
        for name, copy in (("old", self.old), ("anchor", self.anchor)):
            if copy is not None:
                copy.load_state_dict(
                    {k.removeprefix(f"{name}/"): v for k, v in state.items() if k.startswith(f"{name}/")}
                )
