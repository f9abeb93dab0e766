"""The presets are the paper's table, and every algorithm accepts its own."""

from __future__ import annotations

import pytest
import torch
from finetune_models import TinyModel, quadratic_reward
from golden_runs import own_arguments

from drlbench.errors import UserError
from drlbench.finetune.adjoint_matching import AdjointMatchingSettings
from drlbench.finetune.presets import UPDATES, preset
from drlbench.registry import ALGORITHMS

TABLE = {  # backbone: buffer, lr, loss, clip, alpha, rho
    "sit": (2304, 1e-5, "sum", None, 0.9, 0.9),
    "repa": (2304, 1e-5, "sum", None, 0.9, 0.9),
    "jit": (3072, 1e-5, "sum", None, 0.9, 0.9),
    "rae": (3072, 5e-5, "mean", 1.0, 0.75, 0.995),
}


@pytest.mark.parametrize("backbone", TABLE)
def test_the_recipe_table(backbone: str) -> None:
    s = AdjointMatchingSettings(**preset("adjoint-matching", backbone))
    found = (s.buffer, s.learning_rate, s.loss_over_timesteps, s.gradient_clip, s.outlier_quantile, s.outlier_memory)
    assert found == TABLE[backbone]
    assert (s.batch, s.passes, s.warmup, s.steps, s.weight_decay) == (576, 5, 200, 100, 0.0)
    assert (s.timestep_fraction, s.timestep_split, s.outlier_spike_cap) == (0.4, 0.6, 5.0)
    assert UPDATES == {"drl": 3000, "preference": 5000}


@pytest.mark.parametrize("algorithm", list(ALGORITHMS.builtin))
@pytest.mark.parametrize("backbone", list(TABLE))
def test_every_algorithm_takes_its_preset(algorithm: str, backbone: str) -> None:
    kind = ALGORITHMS.get(algorithm)
    data = (torch.zeros(4, 1, 2, 2), torch.zeros(4, dtype=torch.int64))
    small = {"rwm": {"endpoints": 576}, "adjoint-matching": {}}.get(algorithm, {})
    kind(
        TinyModel(),
        TinyModel(),
        quadratic_reward(),
        data,
        preset(algorithm, backbone) | small,
        0,
        **own_arguments(algorithm),
    )


def test_unknown_backbone() -> None:
    with pytest.raises(UserError, match=r"no preset for backbone 'sitt' .*'sit'"):
        preset("sft", "sitt")
