"""A second copy of the policy that follows it: the old policy of NFT and AWM's moving anchor."""

from __future__ import annotations

import torch
from torch import Tensor

from drlbench.finetune.learner import Learner


class Snapshot:
    """Frozen copy of a learner's policy with its velocity in the learner's precision."""

    def __init__(self, learner: Learner) -> None:
        self.model = learner.shadow_of_policy()
        self.velocity = learner.in_precision(self.model)
        self.updater, self.names = learner.updater, learner.updater.names
        own = dict(self.model.net.named_parameters())
        self.parameters: list[Tensor] = [own[name] for name in self.names]

    def follow(self, decay: float) -> None:
        """copy <- decay copy + (1 - decay) policy."""
        with torch.no_grad():
            torch._foreach_lerp_(self.parameters, self.updater.whole_weights(), 1 - decay)

    def state_dict(self) -> dict[str, Tensor]:
        return dict(zip(self.names, self.parameters, strict=True))

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        for name, p in zip(self.names, self.parameters, strict=True):
            p.copy_(state[name])
