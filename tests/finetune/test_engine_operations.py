"""What the engine executes in a buffer and its updates against the arithmetic of the recipe, counted phase by phase.

Arithmetic: a trajectory is K forwards (rollout), K forwards with a product for the input (adjoint, two forwards each)
and, in each of its passes, a forward with a backward to the weights (three) for every chosen timestep.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from drlbench.backbones import create, wrap
from drlbench.backbones.base import VelocityModel
from drlbench.cost.counting import operations
from drlbench.finetune.adjoint_matching import AdjointMatching
from drlbench.finetune.learner import shadow
from drlbench.flow.memoryless import lean_adjoint, rollout, scheme
from drlbench.rewards.base import Reward

NARROW: dict[str, dict[str, Any]] = {
    "sit": {"input_size": 16, "patch_size": 2, "hidden_size": 96, "depth": 4, "num_heads": 4, "num_classes": 10},
    "repa": {"input_size": 16, "patch_size": 2, "hidden_size": 96, "depth": 4, "num_heads": 4, "num_classes": 10,
             "encoder_depth": 2},
    "jit": {"input_size": 64, "patch_size": 8, "hidden_size": 96, "depth": 4, "num_heads": 4, "num_classes": 10,
            "bottleneck_dim": 32, "in_context_len": 4, "in_context_start": 1},
    "rae": {"input_size": 8, "in_channels": 32, "hidden_size": (96, 128), "depth": (4, 1), "num_heads": (4, 4),
            "num_classes": 10},
}  # fmt: skip


class MeanPixel(Reward):
    """A gradient that costs nothing."""

    name = signature = "mean-pixel"

    def forward(self, images: Tensor, y: Tensor) -> Tensor:
        return images.flatten(1).mean(1)


class NoNoise:
    """The rollout's noise on the meta device."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.drawn = torch.empty(shape, device="meta")

    def next(self) -> Tensor:
        return self.drawn


def forward_of(model: VelocityModel) -> float:
    """Operations of one evaluation of one sample."""
    device = next(model.parameters()).device
    x, t = torch.zeros(1, *model.latent_shape, device=device), torch.zeros(1, device=device)
    with torch.no_grad():
        return operations(lambda: model.velocity(x, t, torch.zeros(1, dtype=torch.int64, device=device)))


@pytest.mark.parametrize("name", ["sit-xl-2", "repa-sit-xl-2", "jit-h-16", "rae-ditdh-xl"])
def test_full_size_on_the_meta_device(name: str) -> None:
    """The products for the input cost attention twice, but no modulation; nothing else is more than a per cent off."""
    batch, steps = 1, 2
    with torch.device("meta"):
        model = wrap(create(name))
    y, shape = torch.zeros(batch, dtype=torch.int64, device="meta"), (batch, *model.latent_shape)
    table, forward = scheme("local-linear", steps, model.noise_scale), batch * forward_of(model)
    noise: Any = NoNoise(shape)
    assert operations(lambda: rollout(model.velocity, table, y, noise)) / forward == pytest.approx(steps)
    frozen = shadow(model)
    states, terminal = torch.empty(steps + 1, *shape, device="meta"), torch.empty(shape, device="meta")
    adjoint = operations(lambda: lean_adjoint(frozen.velocity, table, states, y, terminal)) / forward
    # One forward more, at k = 0, is all that the cached base velocities cost.
    assert 2.0 < (adjoint - 1) / steps < 2.04
    weights = [p for p in model.net.parameters() if p.requires_grad]
    t = torch.zeros(batch, device="meta")

    def train() -> None:
        loss = model.velocity(states[0], t, y).square().sum()
        torch.autograd.grad(loss, weights, allow_unused=True)

    assert operations(train) / forward == pytest.approx(3, rel=0.005)


def engine(family: str, **settings: Any) -> AdjointMatching:
    torch.manual_seed(0)
    policy = wrap(create(family, **NARROW[family]))
    for p in policy.net.parameters():
        if p.requires_grad and not p.any():
            torch.nn.init.normal_(p, std=0.02)
    sizes = {"steps": 10, "buffer": 8, "batch": 8, "passes": 5, "timestep_fraction": 0.4, "learning_rate": 1e-4}
    return AdjointMatching(policy, shadow(policy), MeanPixel(), None, sizes | settings, 0)


def counted(run: AdjointMatching) -> tuple[float, float]:
    """Forwards of one sample in the buffer, and in all of its updates."""
    forward = forward_of(run.policy)
    buffer = operations(run._fill) / forward
    return buffer, sum(operations(run.step) for _ in range(run.order.updates)) / forward


@pytest.mark.parametrize("family", list(NARROW))
def test_a_buffer_and_its_updates_are_the_arithmetic(family: str) -> None:
    buffer, updates = counted(engine(family, outlier_quantile=None))
    # 8 trajectories: 10 forwards, 10 products with their forwards, 1 forward for v_base at k = 0.
    assert 1.0 < buffer / (8 * (10 + 2 * 10 + 1)) < 1.09, "narrow networks have more attention to differentiate"
    # 5 passes over 4 timesteps of 8 trajectories.
    assert updates / (5 * 4 * 8 * 3) == pytest.approx(1, rel=0.02)


def test_recomputed_activations_cost_a_forward_more() -> None:
    buffer, plain = counted(engine("sit", outlier_quantile=None))
    same, recomputed = counted(engine("sit", outlier_quantile=None, activation_checkpointing=True))
    assert same == buffer, "only updates recompute"
    assert 1.25 < recomputed / plain <= 4 / 3


def test_the_mask_runs_only_undecided_rows_again() -> None:
    """Rows that fit at once are run once; in chunks, those between rho tau and tau are run again."""
    _, plain = counted(engine("sit", outlier_quantile=None))
    _, whole = counted(engine("sit"))
    assert whole == plain
    run = engine("sit", micro_batch=8)
    _, first = counted(run)
    # The first update of all knows no threshold: a forward of every row, and then the kept ones.
    assert plain < first < 1.2 * plain
    _, later = counted(run)
    assert plain <= later < 1.1 * plain
