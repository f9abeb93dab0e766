"""What every fine-tuning algorithm looks like from outside: built once, stepped, saved, restored.

An algorithm owns the policy it trains, an optimiser, its random generators and whatever buffer it keeps.
`step()` is exactly one optimiser update; budgets are counted in updates, never in seconds, so that a run
can be repeated. All state, generators included, goes through `state_dict`, so a run resumed at any step
gives the numbers of a run that was never stopped.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from drlbench.backbones.base import VelocityModel
from drlbench.finetune.evaluations import Evaluations
from drlbench.finetune.latents import Latents
from drlbench.rewards.base import Reward


class Algorithm(ABC):
    """One fine-tuning run in progress.

    Args of every constructor: `policy` (trained in place), `reference` (frozen; the KL is taken to it),
    `reward` (None for algorithms that learn from data alone), `data` (latents (N, C, H, W) float32, a tensor or what
    gives rows like one, and labels (N,) int64 of the training split, for algorithms that use them), `settings` (a
    validated mapping) and `seed`.
    """

    policy: VelocityModel

    @property
    @abstractmethod
    def signature(self) -> str:
        """What a checkpoint belongs to: the algorithm, all its settings and the seed."""

    @abstractmethod
    def __init__(
        self,
        policy: VelocityModel,
        reference: VelocityModel,
        reward: Reward | None,
        data: tuple[Latents, Tensor] | None,
        settings: dict[str, Any],
        seed: int,
    ) -> None: ...

    @classmethod
    def evaluations(cls, settings: Mapping[str, Any], updates: int, images: int = 0) -> Evaluations | None:
        """What so many updates run, for `drlbench plan`; None where an algorithm does not say.

        Args:
            settings: all of them, as the constructor takes them.
            images: that there are to learn from.
        """
        return None

    @abstractmethod
    def step(self) -> dict[str, float]:
        """Do one optimiser update and return its log row (loss, reward mean, gradient norm, ...)."""

    @abstractmethod
    def state_dict(self) -> dict[str, Tensor]:
        """Everything the next step depends on, as flat named tensors (safetensors can hold it)."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore what `state_dict` gave."""

    def cheap_to_save(self) -> bool:
        """False while the state holds a buffer too large to write often; a checkpoint then waits."""
        return True

    def finished_policy(self) -> VelocityModel:
        """The model to keep (the weight average, where the algorithm keeps one)."""
        return self.policy
