"""What each algorithm declares of its cost against the operations that it executes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from drlbench.backbones import create, wrap
from drlbench.backbones.base import VelocityModel
from drlbench.cost.counting import Operations, operations
from drlbench.cost.network import META, Passes
from drlbench.finetune import ddo, learner, nft, rwm, sft
from drlbench.finetune.evaluations import Evaluations
from drlbench.finetune.fd_loss import Space
from drlbench.finetune.learner import shadow
from drlbench.registry import ALGORITHMS
from drlbench.rewards.base import Reward

ENDPOINTS = {"batch": 8, "endpoints": 16, "group": 4, "sampler_steps": 6}
MATCHING = {"batch": 8, "buffer": 16, "steps": 10, "passes": 2, "timestep_fraction": 0.4}
CASES: list[tuple[str, dict[str, Any], int]] = [
    ("adjoint-matching", MATCHING | {"outlier_quantile": None}, 5),
    ("adjoint-matching", MATCHING | {"outlier_quantile": None, "lora_rank": 2}, 4),
    ("adjoint-matching", MATCHING | {"outlier_quantile": None, "activation_checkpointing": True}, 4),
    ("sft", {"batch": 8}, 3),
    ("ddo", {"batch": 8, "negatives": 16, "sampler_steps": 4, "micro_batch": 6}, 3),
    ("ram", {**ENDPOINTS, "passes": 2, "times": 3}, 5),
    ("awm", {**ENDPOINTS, "passes": 2, "times": 2, "kl_weight": 0.1}, 4),
    ("awm", {**ENDPOINTS, "batch": 16, "times": 2, "kl_weight": 0.0, "anchor_weight": 0.0}, 2),
    ("nft", {**ENDPOINTS, "sampler": "heun", "t_max": 0.5}, 3),
    ("flow-grpo", {**ENDPOINTS, "passes": 1}, 3),
    ("flow-grpo", {**ENDPOINTS, "variant": "memoryless"}, 2),
    ("rwm", {**ENDPOINTS, "times": 2}, 4),
    ("draft", {"batch": 8, "sampler_steps": 6, "truncate": 1}, 2),
    ("draft", {"batch": 8, "sampler_steps": 4, "truncate": 4}, 2),
    ("fd-loss", {"batch": 8, "sampler_steps": 5, "truncate": 2, "population": 24}, 3),
]
NAMES = [f"{name}-{number}" for number, (name, _, _) in enumerate(CASES)]


class Convolution(Reward):
    name = signature = "convolution"

    def __init__(self, channels: int = 1) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(channels, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 1, 3, padding=1))
        self.seen = 0

    def forward(self, images: Tensor, y: Tensor) -> Tensor:
        self.seen += len(images)
        scores: Tensor = self.net(images).flatten(1).mean(1)
        return scores


def of_model(model: VelocityModel, settings: dict[str, Any]) -> Passes:
    with torch.device("meta"):
        t, y = torch.zeros(1), torch.zeros(1, dtype=torch.int64)
    recompute = settings.get("activation_checkpointing", False)
    return Passes(model, lambda x: model.velocity(x, t, y), model.latent_shape, settings.get("lora_rank"), recompute)


def declared(found: Evaluations, network: Passes, reward: Passes) -> float:
    """Operations of a declaration."""
    return (
        found.forwards.rows * network.forward.flops
        + found.products.rows * network.product.flops
        + found.trained.rows * network.trained.flops
        + found.reward_forwards.rows * reward.forward.flops
        + found.reward_products.rows * reward.product.flops
    )


def own_arguments(name: str, judge: Convolution) -> dict[str, Any]:
    """What fd-loss takes beside the others: the judge as a representation of one feature."""
    if name != "fd-loss":
        return {}
    judge.requires_grad_(False)
    return {"spaces": [Space("judge", lambda x: judge(x, torch.zeros(1))[:, None], torch.zeros(1), torch.eye(1))]}


@pytest.mark.parametrize(("name", "given", "updates"), CASES, ids=NAMES)
def test_against_what_is_executed(name: str, given: dict[str, Any], updates: int) -> None:
    torch.manual_seed(0)
    architecture = {"input_size": 8, "patch_size": 2, "in_channels": 1, "hidden_size": 96, "depth": 4, "num_heads": 2}
    arguments: dict[str, Any] = {"num_classes": 10, "learn_sigma": False, **architecture}
    policy = wrap(create("sit", **arguments))  # type: ignore[arg-type] # `create` is typed as any module
    data = torch.randn(32, 1, 8, 8), torch.arange(32) % 10
    reward = Convolution()
    run = ALGORITHMS.get(name)(policy, shadow(policy), reward, data, given, 0, **own_arguments(name, reward))
    executed = sum(operations(run.step) for _ in range(updates))
    seen = reward.seen
    with torch.device("meta"):
        twin, judge = wrap(create("sit", **arguments)), Convolution()  # type: ignore[arg-type] # as above
    through = Passes(judge, lambda x: judge(x, torch.zeros(1)), (1, 8, 8))
    found = ALGORITHMS.get(name).evaluations(given, updates, 32)
    assert executed == pytest.approx(declared(found, of_model(twin, given), through), rel=0.05)
    assert seen == found.reward_forwards.rows + found.reward_products.rows
    assert found.trained.calls >= updates


@pytest.mark.long
@pytest.mark.parametrize(("name", "given", "updates"), CASES, ids=NAMES)
def test_at_full_size_on_the_meta_device(
    name: str, given: dict[str, Any], updates: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine's own steps on SiT-XL/2; the meta device has no generators, so draws are empty there."""
    monkeypatch.setattr(learner, "PathNoise", lambda seeds, shape, device: Nothing((len(seeds), *shape)))
    monkeypatch.setattr(
        learner.Learner, "drawn", lambda self, kind, shape, *counters: torch.empty(shape, device="meta")
    )
    plain = torch.optim.SGD  # a fused Adam does not know this device; no optimiser counts as an operation
    monkeypatch.setattr(torch.optim, "AdamW", lambda parameters, lr, **_: plain(parameters, lr))
    monkeypatch.setattr(rwm.RWM, "advantages", lambda self: self.rewards)  # it groups by labels, which are not there
    monkeypatch.setattr(ddo.DDO, "_weights", lambda self: torch.ones(32))
    times = lambda self, _: torch.empty(8, self.rows_of_endpoint(self.settings), device="meta")  # noqa: E731 - one use
    monkeypatch.setattr(nft.NFT, "times_of", times)  # it picks those up to t_max
    monkeypatch.setattr(sft.FlowMatchingSFT, "_epoch_rows", lambda self, visits: torch.tensor(visits) % 32)
    with torch.device("meta"):
        policy, reward = wrap(create("sit-xl-2")), Convolution(4)  # type: ignore[arg-type] # as above
        data = torch.empty(32, 4, 32, 32), torch.zeros(32, dtype=torch.int64)
    through = Passes(reward, lambda x: reward(x, torch.zeros(1)), (4, 32, 32))
    run = ALGORITHMS.get(name)(policy, shadow(policy), reward, data, given, 0, **own_arguments(name, reward))
    with Operations() as executed:
        for _ in range(updates):
            run.step()
    found = ALGORITHMS.get(name).evaluations(given, updates, 32)
    with torch.device("meta"):
        twin = wrap(create("sit-xl-2"))  # type: ignore[arg-type] # as above
    assert executed.total == pytest.approx(declared(found, of_model(twin, given), through), rel=0.05)


class Nothing:
    def __init__(self, shape: tuple[int, ...]) -> None:
        self.drawn = torch.empty(shape, device=META)

    def next(self) -> Tensor:
        return self.drawn
