"""No algorithm goes on from numbers that are not finite: it stops, names the update, and has applied nothing."""

from __future__ import annotations

import pytest
import torch
from finetune_models import FunctionReward
from golden_runs import SETTINGS, build

from drlbench.finetune.learner import Learner
from drlbench.finetune.train import train
from drlbench.finetune.updater import Diverged


def started(run: str) -> Learner:
    """A pinned run after its first update."""
    algorithm = build(run)
    assert isinstance(algorithm, Learner)
    train(algorithm, 1)
    return algorithm


@pytest.mark.parametrize("run", list(SETTINGS))
def test_a_policy_that_is_not_finite(run: str) -> None:
    algorithm = started(run)
    spoiled, others = algorithm.updater.parts[-1], algorithm.updater.parts[:-1]
    with torch.no_grad():
        spoiled.flatten()[0] = torch.nan
    before = [p.clone() for p in others]
    with pytest.raises(Diverged, match=r"update 2: .*lower learning_rate or lambda, or set gradient_clip"):
        for _ in range(3):
            algorithm.step()
    assert all(torch.equal(p, q) for p, q in zip(others, before, strict=True))


@pytest.mark.parametrize("run", [run for run in SETTINGS if not run.startswith("sft")])
def test_a_reward_that_is_never_finite(run: str) -> None:
    # ddo scores the data once, before its first update.
    algorithm = build(run) if run.startswith("ddo") else started(run)
    assert isinstance(algorithm, Learner) and isinstance(algorithm.reward, FunctionReward)
    inner = algorithm.reward.function
    algorithm.reward.function = lambda x: inner(x) * torch.nan
    with pytest.raises(Diverged, match=r"update \d+: .*lower learning_rate or lambda, or set gradient_clip"):
        train(algorithm, 20)
    assert all(torch.isfinite(p).all() for p in algorithm.updater.parts)
