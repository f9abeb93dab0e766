"""RAM (arXiv 2605.10759): regress the policy on the reference plus reward-weighted residuals of its own samples.

loss = |v - sg(v_ref + R (u - v))|^2 with R the reward over beta, here lambda (r - mean of the others of its
group); endpoints on-policy from any sampler. Its fixed point v = v_ref + lambda Cov(r, u | x_t) is
p_ref exp(lambda r)/Z to first order in lambda only: the path-cost term of the adjoint is dropped.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from drlbench.finetune.endpoints import EndpointSettings, MatchingLearner, Rows, mean_square
from drlbench.flow.path import column


class RAM(MatchingLearner):
    """See the module."""

    name = "ram"
    kind = EndpointSettings

    @classmethod
    def beside(cls, s: Any) -> tuple[int, int, int]:
        return 1, 0, 0  # the reference

    def row_loss(self, rows: Rows) -> Tensor:
        v = self.policy_velocity(rows.xt, rows.t, rows.y)
        anchor = self.no_grad(self.reference_velocity, rows)
        weight = column(rows.advantage, v)
        return mean_square(v - (anchor + weight * (rows.target - v)).detach())
