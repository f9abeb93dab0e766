"""What the engine executes in a buffer and its updates against the arithmetic of the recipe, counted phase by phase.

Arithmetic: a trajectory is K forwards (rollout), K forwards with a product for the input (adjoint, two forwards each)
and, in each of its passes, a forward with a backward to the weights (three) for every chosen timestep.
"""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True)
class Units:
    """Operations of one sample's forward, product for the input (its forward included), and trained row, as this
    release of torch counts them: what the engine executes is compared in units, never with a number of its own."""

    forward: float
    product: float
    trained: float


def units(model: VelocityModel) -> Units:
    """Each unit once, without the engine."""
    device = next(model.parameters()).device
    x, t = torch.zeros(1, *model.latent_shape, device=device), torch.zeros(1, device=device)
    y = torch.zeros(1, dtype=torch.int64, device=device)
    frozen = shadow(model)
    weights = [p for p in model.net.parameters() if p.requires_grad]

    def forward() -> None:
        with torch.no_grad():
            model.velocity(x, t, y)

    def product() -> None:
        leaf = x.clone().requires_grad_()
        found = frozen.velocity(leaf, t, y)
        torch.autograd.grad(found, leaf, torch.ones_like(found))

    def train() -> None:
        torch.autograd.grad(model.velocity(x, t, y).square().sum(), weights, allow_unused=True)

    return Units(operations(forward), operations(product), operations(train))


@pytest.mark.parametrize("name", ["sit-xl-2", "repa-sit-xl-2", "jit-h-16", "rae-ditdh-xl"])
def test_full_size_on_the_meta_device(name: str) -> None:
    """Rollout and adjoint are what the recipe says, to the last operation."""
    batch, steps = 1, 2
    with torch.device("meta"):
        model = wrap(create(name))
    y, shape = torch.zeros(batch, dtype=torch.int64, device="meta"), (batch, *model.latent_shape)
    table, unit = scheme("local-linear", steps, model.noise_scale), units(model)
    noise: Any = NoNoise(shape)
    assert operations(lambda: rollout(model.velocity, table, y, noise)) == pytest.approx(steps * batch * unit.forward)
    frozen = shadow(model)
    states, terminal = torch.empty(steps + 1, *shape, device="meta"), torch.empty(shape, device="meta")
    adjoint = operations(lambda: lean_adjoint(frozen.velocity, table, states, y, terminal))
    # One forward more, at k = 0, is all that the cached base velocities cost.
    assert adjoint == pytest.approx(batch * (unit.forward + steps * unit.product))
    # Linear layers take 2 forwards and 3; attention one more of either where it is computed anew for its gradient.
    assert 1.95 < unit.product / unit.forward < 2.1
    assert 2.95 < unit.trained / unit.forward < 3.1


def engine(family: str, **settings: Any) -> AdjointMatching:
    torch.manual_seed(0)
    policy = wrap(create(family, **NARROW[family]))
    for p in policy.net.parameters():
        if p.requires_grad and not p.any():
            torch.nn.init.normal_(p, std=0.02)
    sizes = {"steps": 10, "buffer": 8, "batch": 8, "passes": 5, "timestep_fraction": 0.4, "learning_rate": 1e-4}
    return AdjointMatching(policy, shadow(policy), MeanPixel(), None, sizes | settings, 0)


def counted(run: AdjointMatching) -> tuple[float, float]:
    """Operations of the buffer, and of all of its updates."""
    return operations(run._fill), sum(operations(run.step) for _ in range(run.order.updates))


@pytest.mark.parametrize("family", list(NARROW))
def test_a_buffer_and_its_updates_are_the_arithmetic(family: str) -> None:
    run = engine(family, outlier_quantile=None)
    unit = units(run.policy)
    buffer, updates = counted(run)
    # 8 trajectories: 10 forwards, 10 products with their forwards, 1 forward for v_base at k = 0.
    assert buffer == pytest.approx(8 * (10 * unit.forward + 10 * unit.product + unit.forward))
    # 5 passes over 4 timesteps of 8 trajectories.
    assert updates == pytest.approx(5 * 4 * 8 * unit.trained)


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
