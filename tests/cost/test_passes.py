"""Passes by arithmetic against the operations that each algorithm executes on a small network."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from drlbench.backbones import create, wrap
from drlbench.cost.arithmetic import trajectories, trajectory_tflop
from drlbench.cost.counting import operations
from drlbench.cost.passes import passes
from drlbench.finetune.learner import shadow
from drlbench.registry import ALGORITHMS
from drlbench.rewards.base import Reward
from drlbench.suite.kinds import in_full

ENDPOINTS = {"batch": 8, "endpoints": 16, "group": 4, "sampler_steps": 6}
CASES: list[tuple[str, dict[str, Any], int]] = [
    ("adjoint-matching", {"batch": 8, "buffer": 16, "steps": 10, "passes": 2, "timestep_fraction": 0.4}, 5),
    ("sft", {"batch": 8}, 3),
    ("ram", {**ENDPOINTS, "passes": 2, "times": 3}, 5),
    ("awm", {**ENDPOINTS, "passes": 2, "times": 2, "kl_weight": 0.1}, 4),
    ("awm", {**ENDPOINTS, "batch": 16, "times": 2, "kl_weight": 0.0, "anchor_weight": 0.0}, 2),
    ("nft", {**ENDPOINTS, "sampler": "heun", "t_max": 0.5}, 3),
    ("flow-grpo", {**ENDPOINTS, "passes": 1}, 3),
    ("flow-grpo", {**ENDPOINTS, "variant": "memoryless"}, 2),
    ("rwm", {**ENDPOINTS, "times": 2}, 4),
    ("draft", {"batch": 8, "sampler_steps": 6, "truncate": 1}, 2),
    ("draft", {"batch": 8, "sampler_steps": 4, "truncate": 4}, 2),
]


class Convolution(Reward):
    name = signature = "convolution"

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(1, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 1, 3, padding=1))
        self.seen = 0

    def forward(self, images: Tensor, y: Tensor) -> Tensor:
        self.seen += len(images)
        scores: Tensor = self.net(images).flatten(1).mean(1)
        return scores


@pytest.mark.parametrize(("name", "given", "updates"), CASES, ids=[f"{n}-{i}" for i, (n, _, _) in enumerate(CASES)])
def test_against_what_is_executed(name: str, given: dict[str, Any], updates: int) -> None:
    torch.manual_seed(0)
    architecture = {"input_size": 8, "patch_size": 2, "in_channels": 1, "hidden_size": 64, "depth": 2, "num_heads": 2}
    policy = wrap(create("sit", num_classes=10, learn_sigma=False, **architecture))
    data = torch.randn(32, 1, 8, 8), torch.arange(32) % 10
    reward, extra = Convolution(), {"outlier_quantile": None} if name == "adjoint-matching" else {}
    run = ALGORITHMS.get(name)(policy, shadow(policy), reward, data, given | extra, 0)

    def forward(work: Any, *inputs: Tensor) -> int:
        with torch.no_grad():
            return operations(lambda: work(*inputs))

    one = forward(policy.velocity, data[0][:1], torch.zeros(1), data[1][:1])
    through = forward(reward, data[0][:1], data[1][:1])
    reward.seen = 0
    executed = sum(operations(run.step) for _ in range(updates))
    found = passes(name, in_full(ALGORITHMS, name, given), updates)
    assert found is not None and found.calls > updates
    # Attention costs more in a product for the input, and first and last layers less in a backward.
    assert executed == pytest.approx(found.network * one + found.reward * through, rel=0.06)
    assert reward.seen == found.reward / (2 if name in ("adjoint-matching", "draft") else 1)


def test_agrees_with_the_arithmetic_of_a_trajectory() -> None:
    settings = in_full(ALGORITHMS, "adjoint-matching", {})
    found = passes("adjoint-matching", settings, 3000)
    assert found is not None
    floor = trajectories(3000, settings) * trajectory_tflop(1.0, 0.0, settings)
    assert found.network == pytest.approx(floor, rel=0.002)


def test_unknown_algorithm() -> None:
    assert passes("a-plug-in", {}, 10) is None
