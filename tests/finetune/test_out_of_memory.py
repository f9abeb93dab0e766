"""Memory that runs out in the middle of an update: smaller chunks, the same effective batch, the same numbers."""

from __future__ import annotations

import pytest
import torch
from finetune_models import TinyModel, quadratic_reward
from golden_runs import SETTINGS, build, own_arguments, rows
from torch import Tensor

from drlbench.errors import MissingPrerequisite
from drlbench.finetune.base import Algorithm
from drlbench.finetune.learner import Learner
from drlbench.finetune.train import train
from drlbench.registry import ALGORITHMS

UPDATES = 8


class SmallMemory(TinyModel):
    """Refuses more than `limit` rows at a time, in the forward or only in the backward pass, as a full GPU does.

    `refused` counts, in copies too.
    """

    limit = 3

    def __init__(self, backward: bool) -> None:
        super().__init__()
        self.backward = backward
        self.register_buffer("refused", torch.zeros(1))

    def __deepcopy__(self, memo: dict[int, object]) -> SmallMemory:
        twin = SmallMemory(self.backward)
        twin.load_state_dict(self.state_dict())
        twin.refused = self.refused
        return twin

    def velocity(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        too_many = len(x) > self.limit
        if too_many and not (self.backward and torch.is_grad_enabled()):
            self.refuse()
        v = super().velocity(x, t, y)
        if too_many:
            v.register_hook(lambda gradient: self.refuse())
        return v

    def refuse(self) -> None:
        self.refused.add_(1)
        raise torch.OutOfMemoryError("simulated")


def small(run: str, backward: bool, **extra: object) -> tuple[Algorithm, SmallMemory]:
    """The pinned run with a policy that has little memory, and its policy."""
    pinned = build(run)
    policy = SmallMemory(backward)
    settings = {"batch": 8, "learning_rate": 1e-2, "warmup": 5, "gradient_clip": 5.0, "ema": 0.9}
    kind = ALGORITHMS.get(run.split()[0])
    assert isinstance(pinned, Learner)
    given = settings | SETTINGS[run] | extra
    return kind(policy, TinyModel(), quadratic_reward(), pinned.data, given, 7, **own_arguments(run)), policy


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("run", list(SETTINGS))
def test_the_effective_batch_is_kept(run: str, backward: bool) -> None:
    algorithm, policy = small(run, backward)
    found = train(algorithm, UPDATES)
    assert policy.refused
    for mine, plain in zip(found, rows(run, UPDATES), strict=True):
        for name, value in plain.items():
            assert mine[name] == pytest.approx(value, rel=2e-4, abs=1e-5), (name, mine["update"])


def test_what_cannot_be_done_in_smaller_chunks_says_so() -> None:
    algorithm, policy = small("adjoint-matching", False)
    policy.limit = 0
    with pytest.raises(MissingPrerequisite, match="single row at a time; use a smaller network"):
        algorithm.step()
