"""A weighted sum of rewards, r = sum_i w_i r_i: discriminator and preference in one objective.

The weights multiply the rewards as they are, so that a discriminator's logit keeps its meaning in nats. A suite writes
such a sum as a run's `with:` and `reward:`; it is no reward of its own there.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from drlbench.errors import UserError
from drlbench.rewards.base import Reward


class Combined(Reward):
    """See the module for the formula.

    Raises:
        UserError: the lists differ in length or are empty.
    """

    name = "combined"

    def __init__(self, rewards: Sequence[Reward], weights: Sequence[float]) -> None:
        super().__init__()
        if not rewards or len(rewards) != len(weights):
            raise UserError(f"combined: {len(rewards)} rewards and {len(weights)} weights; give one weight for each")
        self.rewards, self.weights = nn.ModuleList(rewards), [float(weight) for weight in weights]
        terms = zip(self.weights, rewards, strict=True)
        self.signature = "combined " + " + ".join(f"{w:g} * {r.signature}" for w, r in terms)

    def forward(self, images: Tensor, y: Tensor) -> Tensor:
        total = torch.zeros(len(images), device=images.device)
        for reward, weight in zip(self.rewards, self.weights, strict=True):
            total = total + weight * reward(images, y)
        return total
