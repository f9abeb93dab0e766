"""The tuned update of adjoint matching against plain ones, in the same run, on the digits-sized SiT.

plain: the textbook loop without a trajectory buffer: every update simulates its own trajectories, keeps the
    weights' graph in the adjoint, evaluates v_base again for the loss, one timestep at a time, per-tensor Adam.
plain with buffer: the same, but with the paper's five passes over a buffer.
"""

from __future__ import annotations

import copy
import math
import time

import pytest
import torch
from torch import Tensor, nn

from drlbench.backbones import create, wrap
from drlbench.backbones.base import VelocityModel
from drlbench.finetune.adjoint_matching import AdjointMatching
from drlbench.finetune.learner import shadow
from drlbench.rewards.base import Reward

STEPS, BATCH, PASSES, FRACTION = 20, 64, 5, 0.4
DIGITS = {"input_size": 8, "in_channels": 1, "hidden_size": 16, "depth": 1, "num_heads": 4, "num_classes": 10}


class Convolution(Reward):
    def __init__(self) -> None:
        super().__init__()
        self.name = self.signature = "convolution"
        self.net = nn.Sequential(nn.Conv2d(1, 16, 3, 2, 1), nn.SiLU(), nn.Flatten(), nn.Linear(256, 1))

    def forward(self, images: Tensor, y: Tensor) -> Tensor:
        return self.net(images)[:, 0]


def model() -> VelocityModel:
    torch.manual_seed(0)
    net = create("sit", learn_sigma=False, **DIGITS)
    for p in net.parameters():
        if p.requires_grad:
            nn.init.normal_(p, std=0.1)
    return wrap(net)


class Plain:
    """Adjoint matching as one writes it down first."""

    def __init__(self, passes: int) -> None:
        self.policy, self.passes, self.used = model(), passes, passes
        self.base, self.reward = copy.deepcopy(self.policy), Convolution()
        self.optimiser = torch.optim.Adam(self.policy.net.parameters(), lr=1e-3, foreach=False)

    def fill(self) -> None:
        dt = 1 / STEPS
        u = [k * dt + dt for k in range(STEPS + 1)]
        self.y = torch.arange(BATCH) % 10
        x = torch.randn(BATCH, 1, 8, 8)
        self.x = [x]
        for k in range(STEPS):
            with torch.no_grad():
                v = self.policy.velocity(x, torch.full((BATCH,), k * dt), self.y)
            if k == STEPS - 1:
                x = x + dt * v
            else:
                phi = u[k] / u[k + 1]
                variance = (1 + 2 * dt) * (1 - phi**2) - 2 / 3 * (u[k + 1] - phi**2 * u[k])
                x = phi * x + u[k + 1] * (1 - phi**2) * v + math.sqrt(variance) * torch.randn_like(x)
            self.x.append(x)
        end = x.clone().requires_grad_()
        a = -torch.autograd.grad(self.reward((end + 1) / 2, self.y).sum(), end)[0]
        self.a = [a] * STEPS
        for k in reversed(range(STEPS)):
            point = self.x[k + 1].clone().requires_grad_()
            v = self.base.velocity(point, torch.full((BATCH,), (k + 1) * dt), self.y)
            a = u[k] / u[k + 1] * (a + 2 * dt * torch.autograd.grad(v, point, a)[0])
            self.a[k] = a
        self.used = 0

    def step(self) -> None:
        if self.used == self.passes:
            self.fill()
        dt, loss = 1 / STEPS, torch.zeros(())
        for k in torch.randperm(STEPS)[: math.ceil(FRACTION * STEPS)].tolist():
            t = torch.full((BATCH,), k * dt)
            sigma = math.sqrt(2 * (1 - k * dt + dt) / (k * dt + dt))
            gap = self.policy.velocity(self.x[k], t, self.y) - self.base.velocity(self.x[k], t, self.y).detach()
            loss = loss + 0.5 * (2 / sigma * gap + sigma * self.a[k]).square().sum() / BATCH
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        self.used += 1


def seconds(step, updates: int = 15) -> float:  # type: ignore[no-untyped-def]
    for _ in range(PASSES):
        step()
    start = time.process_time()
    for _ in range(updates):
        step()
    return (time.process_time() - start) / updates


@pytest.mark.bench
def test_tuned_update_against_plain_ones() -> None:
    torch.set_num_threads(1)
    policy = model()
    settings = {"steps": STEPS, "buffer": BATCH, "batch": BATCH, "passes": PASSES, "learning_rate": 1e-3}
    tuned = AdjointMatching(policy, shadow(policy), Convolution(), None, settings, 0)
    rounds = [(seconds(tuned.step), seconds(Plain(1).step), seconds(Plain(PASSES).step)) for _ in range(3)]
    mine, plain, buffered = (min(column) for column in zip(*rounds, strict=True))
    print(f"\ntuned {mine * 1e3:.1f} ms, plain {plain * 1e3:.1f} ms ({plain / mine:.2f}x), "
          f"plain with buffer {buffered * 1e3:.1f} ms ({buffered / mine:.2f}x)")  # fmt: skip
    assert plain / mine >= 2
    assert buffered / mine >= 1.1
