"""A weighted sum of rewards: discriminator and preference in one objective, or the logits of several rounds.

r = sum_i w_i (r_i - m_i)/s_i. Without normalisation m = 0 and s = 1, so logits keep their meaning in nats;
with it, m_i and s_i are the mean and standard deviation of r_i on samples of the base model, so that weights
compare rewards of different scale.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from drlbench.errors import UserError
from drlbench.rewards.base import Reward


class Combined(Reward):
    """See the module for the formula. `statistics` holds (m_i, s_i) per reward, or none for (0, 1).

    Raises:
        UserError: the lists differ in length or are empty, or a standard deviation is not positive.
    """

    name = "combined"

    def __init__(
        self,
        rewards: Sequence[Reward],
        weights: Sequence[float],
        statistics: Sequence[tuple[float, float]] | None = None,
    ) -> None:
        super().__init__()
        if not rewards or len(rewards) != len(weights):
            raise UserError(f"combined: {len(rewards)} rewards and {len(weights)} weights; give one weight for each")
        self.statistics = list(statistics) if statistics is not None else [(0.0, 1.0)] * len(rewards)
        if len(self.statistics) != len(rewards) or any(not scale > 0 for _, scale in self.statistics):
            raise UserError("combined: give each reward a mean and a positive standard deviation")
        self.rewards, self.weights = nn.ModuleList(rewards), [float(weight) for weight in weights]
        terms = zip(self.weights, self.statistics, rewards, strict=True)
        self.signature = "combined " + " + ".join(f"{w:g} * ({r.signature} - {m:g}) / {s:g}" for w, (m, s), r in terms)

    @classmethod
    def normalised(cls, rewards: Sequence[Reward], weights: Sequence[float], images: Tensor, y: Tensor) -> Combined:
        """Measure m_i and s_i on base samples: images (N, C, H, W) and labels y (N,)."""
        statistics = []
        for reward in rewards:
            with torch.no_grad():
                scores = torch.cat(
                    [reward(x, c) for x, c in zip(images.split(256), y.split(256), strict=True)]
                ).double()
            statistics.append((float(scores.mean()), float(scores.std())))
        return cls(rewards, weights, statistics)

    def forward(self, images: Tensor, y: Tensor) -> Tensor:
        total = torch.zeros(len(images), device=images.device)
        for reward, weight, (mean, scale) in zip(self.rewards, self.weights, self.statistics, strict=True):
            total = total + weight * (reward(images, y) - mean) / scale
        return total
