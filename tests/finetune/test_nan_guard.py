"""No algorithm goes on from numbers that are not finite: it stops, names the update, and has applied nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from finetune_models import FunctionReward
from golden_runs import SETTINGS, build

from drlbench.errors import Diverged
from drlbench.finetune import adjoint_matching
from drlbench.finetune.learner import Learner
from drlbench.finetune.train import train


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


REWARDED = [run for run in SETTINGS if not run.startswith(("sft", "fd-loss"))]


@pytest.mark.parametrize("run", REWARDED)
def test_a_reward_that_is_never_finite(run: str) -> None:
    # ddo scores the data once, before its first update.
    algorithm = build(run) if run.startswith("ddo") else started(run)
    assert isinstance(algorithm, Learner) and isinstance(algorithm.reward, FunctionReward)
    inner = algorithm.reward.function
    algorithm.reward.function = lambda x: inner(x) * torch.nan
    with pytest.raises(Diverged, match=r"update \d+: .*lower learning_rate or lambda, or set gradient_clip"):
        train(algorithm, 20)
    assert all(torch.isfinite(p).all() for p in algorithm.updater.parts)


def spoil(values: torch.Tensor, number: float) -> torch.Tensor:
    """The same with one entry of the second sample that is no number."""
    spoiled = values.clone()
    spoiled[(1, *[0] * (values.ndim - 1))] = number
    return spoiled


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("tensor", ["state", "reward", "reward gradient", "adjoint"])
def test_one_bad_sample_of_adjoint_matching_is_named(
    tensor: str, number: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    algorithm = build("adjoint-matching")
    assert isinstance(algorithm, Learner)
    module = adjoint_matching
    if tensor == "state":
        real_rollout = module.rollout
        monkeypatch.setattr(
            module, "rollout", lambda *a: spoil(real_rollout(*a).transpose(0, 1), number).transpose(0, 1)
        )
    elif tensor == "adjoint":
        real_adjoint = module.lean_adjoint

        def bad(*a: Any) -> Any:
            adjoint, v = real_adjoint(*a)
            return spoil(adjoint.transpose(0, 1), number).transpose(0, 1), v

        monkeypatch.setattr(module, "lean_adjoint", bad)
    else:
        real = algorithm._reward_gradient

        def scored(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            score, gradient = real(x, y)
            return (spoil(score, number), gradient) if tensor == "reward" else (score, spoil(gradient, number))

        monkeypatch.setattr(algorithm, "_reward_gradient", scored)
    before = [p.clone() for p in algorithm.updater.parts]
    with pytest.raises(Diverged, match=rf"update 1: the {tensor} of sample 1 is not finite \(1 of "):
        train(algorithm, 3)
    assert all(torch.equal(p, q) for p, q in zip(algorithm.updater.parts, before, strict=True))


@pytest.mark.parametrize("run", [run for run in REWARDED if not run.startswith("adjoint")])
def test_one_bad_reward_is_named(run: str) -> None:
    algorithm = build(run)
    assert isinstance(algorithm, Learner) and isinstance(algorithm.reward, FunctionReward)
    inner = algorithm.reward.function
    algorithm.reward.function = lambda x: spoil(inner(x), float("nan"))
    with pytest.raises(Diverged, match=r"update 1: the reward of sample \d+ is not finite"):
        train(algorithm, 20)
