"""The tuned update of adjoint matching against plain ones, in the same run, on two sizes of network.

plain: fp32, no caching, no compile. The update is written down as the formulas are: v_base is evaluated again for
    the loss, timesteps are run one at a time, the adjoint keeps the weights' graph, Adam goes tensor by tensor. It is
    the same method, so it takes the paper's five passes over a buffer.
on-policy: plain without the buffer: every update simulates its own trajectories (adjoint matching as first published).
tuned: the engine as it comes, and in bf16 (and compiled) as `suites/cifar10.yaml` runs it.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from drlbench.backbones import create, wrap
from drlbench.backbones.base import VelocityModel
from drlbench.finetune.adjoint_matching import AdjointMatching
from drlbench.finetune.learner import shadow
from drlbench.rewards.base import Reward

PASSES, FRACTION = 5, 0.4


@dataclass(frozen=True)
class Case:
    """One size: the network's architecture, K, the batch, and how many buffers are timed."""

    architecture: dict[str, Any]
    steps: int
    batch: int
    buffers: int
    repeats: int


CASES = {
    "digits": Case(
        {"input_size": 8, "in_channels": 1, "hidden_size": 16, "depth": 1, "num_heads": 4, "num_classes": 10},
        20, 64, 3, 3,
    ),
    "cifar10": Case(
        {"input_size": 32, "patch_size": 4, "in_channels": 3, "hidden_size": 256, "depth": 8, "num_heads": 4,
         "num_classes": 10},
        10, 8, 1, 2,
    ),
}  # fmt: skip


class Convolution(Reward):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.name = self.signature = "convolution"
        self.net = nn.Sequential(nn.Conv2d(channels, 16, 3, 2, 1), nn.SiLU(), nn.Flatten(), nn.LazyLinear(1))

    def forward(self, images: Tensor, y: Tensor) -> Tensor:
        scores: Tensor = self.net(images)
        return scores[:, 0]


def model(case: Case) -> VelocityModel:
    torch.manual_seed(0)
    net = create("sit", learn_sigma=False, **case.architecture)
    for p in net.parameters():
        if p.requires_grad:
            nn.init.normal_(p, std=0.1 if case.architecture["hidden_size"] < 64 else 0.02)
    return wrap(net)


def reward(policy: VelocityModel) -> Reward:
    found = Convolution(policy.latent_shape[0])
    found(torch.zeros(1, *policy.latent_shape), torch.zeros(1, dtype=torch.int64))
    return found


class Plain:
    """Adjoint matching as one writes it down first."""

    def __init__(self, case: Case, passes: int) -> None:
        self.case, self.policy, self.passes, self.used = case, model(case), passes, passes
        self.base, self.reward = copy.deepcopy(self.policy), reward(self.policy)
        self.optimiser = torch.optim.Adam(self.policy.net.parameters(), lr=1e-3, foreach=False)

    def fill(self) -> None:
        steps, batch = self.case.steps, self.case.batch
        dt = 1 / steps
        u = [k * dt + dt for k in range(steps + 1)]
        self.y = torch.arange(batch) % 10
        x = torch.randn(batch, *self.policy.latent_shape)
        self.x = [x]
        for k in range(steps):
            with torch.no_grad():
                v = self.policy.velocity(x, torch.full((batch,), k * dt), self.y)
            if k == steps - 1:
                x = x + dt * v
            else:
                phi = u[k] / u[k + 1]
                variance = (1 + 2 * dt) * (1 - phi**2) - 2 / 3 * (u[k + 1] - phi**2 * u[k])
                x = phi * x + u[k + 1] * (1 - phi**2) * v + math.sqrt(variance) * torch.randn_like(x)
            self.x.append(x)
        end = x.clone().requires_grad_()
        a = -torch.autograd.grad(self.reward((end + 1) / 2, self.y).sum(), end)[0]
        self.a = [a] * steps
        for k in reversed(range(steps)):
            point = self.x[k + 1].clone().requires_grad_()
            v = self.base.velocity(point, torch.full((batch,), (k + 1) * dt), self.y)
            a = u[k] / u[k + 1] * (a + 2 * dt * torch.autograd.grad(v, point, a)[0])
            self.a[k] = a
        self.used = 0

    def step(self) -> None:
        if self.used == self.passes:
            self.fill()
        steps, batch = self.case.steps, self.case.batch
        dt, loss = 1 / steps, torch.zeros(())
        for k in torch.randperm(steps)[: math.ceil(FRACTION * steps)].tolist():
            t = torch.full((batch,), k * dt)
            sigma = math.sqrt(2 * (1 - k * dt + dt) / (k * dt + dt))
            gap = self.policy.velocity(self.x[k], t, self.y) - self.base.velocity(self.x[k], t, self.y).detach()
            loss = loss + 0.5 * (2 / sigma * gap + sigma * self.a[k]).square().sum() / batch
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        self.used += 1


def tuned(case: Case, **extra: Any) -> AdjointMatching:
    policy = model(case)
    sizes = {"steps": case.steps, "buffer": case.batch, "batch": case.batch, "passes": PASSES}
    settings = sizes | {"timestep_fraction": FRACTION, "learning_rate": 1e-3}
    return AdjointMatching(policy, shadow(policy), reward(policy), None, settings | extra, 0)


def seconds(step: Callable[[], object], case: Case) -> float:
    """Processor seconds of one update, its share of the buffers included."""
    start = time.process_time()
    for _ in range(case.buffers * PASSES):
        step()
    return (time.process_time() - start) / (case.buffers * PASSES)


@pytest.mark.bench
@pytest.mark.parametrize("name", list(CASES))
def test_tuned_update_against_plain_ones(name: str) -> None:
    case = CASES[name]
    torch.set_num_threads(1)
    fp32, bf16 = tuned(case).step, tuned(case, precision="bf16").step
    compiled = tuned(case, precision="bf16", compile=True).step
    plain, on_policy = Plain(case, PASSES).step, Plain(case, 1).step
    steps = {"plain": plain, "on-policy": on_policy, "fp32": fp32, "bf16": bf16, "bf16 compiled": compiled}
    for step in steps.values():
        seconds(step, case)  # compile, and settle allocators
    best = dict.fromkeys(steps, math.inf)
    for _ in range(case.repeats):  # interleaved, so that what else the machine does hits all alike
        for each, step in steps.items():
            best[each] = min(best[each], seconds(step, case))
    for each, found in best.items():
        print(f"\n{name}: {each} {found * 1e3:.1f} ms, {best['plain'] / found:.2f} of plain's speed", end="")
    fastest = min(best[each] for each in ("fp32", "bf16", "bf16 compiled"))
    assert best["on-policy"] / fastest >= 2
    assert best["plain"] / fastest >= (2 if name == "cifar10" else 1.1)
