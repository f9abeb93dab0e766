"""The outlier mask of adjoint matching: an exponential average of a high quantile of the loss norms.

tau_n = rho tau_{n-1} + (1 - rho) min(quantile_alpha(norms), c tau_{n-1}); entries at or above tau_n, or not
finite, are masked out. The paper does not state tau_0; here it is the first batch's quantile.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, distributed

from drlbench.finetune.ranks import world


class OutlierThreshold:
    """tau and its update: `quantile` alpha (none: only non-finite entries are masked), `memory` rho, `spike_cap` c."""

    def __init__(self, quantile: float | None, memory: float, spike_cap: float) -> None:
        self.quantile, self.memory, self.spike_cap = quantile, memory, spike_cap
        self.tau: float | None = None if quantile is not None else math.inf

    @property
    def floor(self) -> float:
        """A bound below the next tau: entries under it are kept whatever the batch's quantile turns out to be."""
        if self.tau is None:
            return 0.0
        return self.tau if math.isinf(self.tau) else self.memory * self.tau

    def update(self, norms: Tensor) -> float:
        """Take this rank's loss norms of one whole batch, shape (R,), and return tau_n over all ranks.

        A batch without a finite entry leaves tau as it was.
        """
        if self.quantile is None:
            return math.inf
        if world()[1] > 1:
            parts = [torch.empty_like(norms) for _ in range(world()[1])]
            distributed.all_gather(parts, norms)
            norms = torch.cat(parts)
        finite = norms[torch.isfinite(norms)]
        if finite.numel() == 0:
            return self.tau if self.tau is not None else 0.0
        quantile = float(torch.quantile(finite.float(), self.quantile))
        if self.tau is None:
            self.tau = quantile
        else:
            self.tau = self.memory * self.tau + (1 - self.memory) * min(quantile, self.spike_cap * self.tau)
        return self.tau
