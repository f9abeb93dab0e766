"""The timestep subset of a gradient step."""

from __future__ import annotations

import pytest
import torch

from drlbench.finetune.timesteps import timestep_subset


def draw(steps: int, fraction: float = 0.4, split: float = 0.6, seed: int = 0) -> list[int]:
    return timestep_subset(steps, fraction, split, torch.Generator().manual_seed(seed)).tolist()


@pytest.mark.parametrize(("steps", "early", "late"), [(100, 20, 20), (50, 10, 10), (20, 4, 4), (7, 1, 2)])
def test_half_early_half_late_without_repeats(steps: int, early: int, late: int) -> None:
    for seed in range(20):
        chosen = draw(steps, seed=seed)
        assert len(set(chosen)) == len(chosen) and chosen == sorted(chosen)
        assert sum(k / steps < 0.6 for k in chosen) == early
        assert sum(k / steps >= 0.6 for k in chosen) == late
        assert min(chosen) >= 0 and max(chosen) < steps


def test_every_timestep_is_drawn_and_all_of_them_at_fraction_one() -> None:
    assert {k for seed in range(100) for k in draw(20, seed=seed)} == set(range(20))
    assert draw(13, fraction=1.0) == list(range(13))
    assert len(draw(10, fraction=0.9, split=0.9)) == 9
