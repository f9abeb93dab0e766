"""DRaFT-K (arXiv 2309.17400): backpropagate the reward through the last K steps of the sampler.

There is no anchor, so there is no target distribution: the optimum is the maximiser of r, and lambda only scales
the gradient, which Adam takes out again. It is the stress test for a reward: whatever can be exploited will be.

Shapes: B endpoints, C channels, H and W height and width of the latent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from drlbench.finetune.evaluations import Evaluations, rows
from drlbench.finetune.finite import check_finite
from drlbench.finetune.learner import Learner
from drlbench.finetune.ranks import all_sum
from drlbench.finetune.settings import Settings
from drlbench.flow.ode import time_grid


class DRaFTSettings(Settings):
    """`truncate` is K: 1 is DRaFT-1, `sampler_steps` is full DRaFT."""

    sampler_steps: int = Field(50, ge=1, description="steps of the sampler that draws endpoints")
    truncate: int = Field(
        1, ge=1, description="K: how many of the last sampling steps are differentiated; 1 is DRaFT-1"
    )


class DRaFT(Learner):
    """Maximise the mean of lambda r(decode(X_1)) over Euler endpoints of the policy."""

    name = "draft"
    kind = DRaFTSettings
    settings: DRaFTSettings

    @classmethod
    def evaluations(cls, settings: Mapping[str, Any], updates: int, images: int = 0) -> Evaluations:
        """Forwards down to the last `truncate` steps, which are trained through the reward."""
        s = cls.kind(**settings)
        each, trained = rows(s.batch, s.micro_batch).times(updates), min(s.truncate, s.sampler_steps)
        return Evaluations(
            forwards=each.times(s.sampler_steps - trained), trained=each.times(trained), reward_products=each
        )

    def step(self) -> dict[str, float]:
        s, update = self.settings, self.updater.updates
        assert self.reward is not None
        reward, policy = self.reward, self.policy
        indices = [update * s.batch + i for i in self.own_rows(s.batch)]
        y = self.labels(indices)
        start = policy.noise_scale * self.path_noise(indices).next()
        total = torch.zeros((), device=self.device)
        free = max(0, s.sampler_steps - s.truncate)
        grid = time_grid(s.sampler_steps, policy.time_shift).tolist()

        def learn(piece: slice) -> None:
            x, labels = start[piece], y[piece]
            for k in range(s.sampler_steps):
                t = torch.full((len(x),), grid[k], device=self.device)
                with torch.set_grad_enabled(k >= free):
                    x = x + (grid[k + 1] - grid[k]) * self.policy_velocity(x, t, labels)
            scores = reward(policy.decode(x), labels).float()
            check_finite(update + 1, "reward", scores, indices[piece])
            self.updater.accumulate(-s.lam * scores.sum() / s.batch)
            total.add_(scores.detach().sum())

        with self.recompute():
            self.chunks.run(len(indices), learn)
        mean = float(all_sum(total)) / s.batch
        return {"loss": -s.lam * mean, "reward": mean} | self.updater.step()

    def _own_state(self) -> dict[str, Tensor]:
        return {}

    def _load_own_state(self, state: dict[str, Tensor]) -> None:
        pass
