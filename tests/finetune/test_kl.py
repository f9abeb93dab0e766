"""The KL estimator against closed forms."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from finetune_models import MixtureModel

from drlbench.finetune.kl import kl_nats


def gaussian(mean: float, std: float, noise_scale: float = 1.0, dim: int = 1) -> MixtureModel:
    return MixtureModel(torch.full((1, dim), mean), std, torch.ones(1), noise_scale=noise_scale)


@pytest.mark.parametrize("noise_scale", [1.0, 2.0])
@pytest.mark.parametrize(("mean", "std"), [(0.5, 1.0), (0.0, 0.7), (-0.4, 1.3)])
def test_gaussians(mean: float, std: float, noise_scale: float) -> None:
    """KL(N(m, s^2) || N(0, 1)) = (s^2 + m^2 - 1)/2 - log s, twice that in two dimensions."""
    samples = mean + std * torch.randn(4000, 1, 1, 2, generator=torch.Generator().manual_seed(0))
    y = torch.zeros(4000, dtype=torch.int64)
    policy, base = gaussian(mean, std, noise_scale, 2), gaussian(0.0, 1.0, noise_scale, 2)
    found = kl_nats(policy, base, samples, y, seed=1, t_max=0.999)
    exact = 2 * ((std**2 + mean**2 - 1) / 2 - math.log(std))
    assert found.nats == pytest.approx(exact, abs=4 * found.standard_error + 0.01 * exact)
    assert found.standard_error < 0.1 * exact


@dataclass
class Linear:
    """v = c (x + t), which never stands still."""

    factor: float
    noise_scale: float = 1.0

    def velocity(self, x: torch.Tensor, t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return self.factor * (x + t.view(-1, 1, 1, 1))


@pytest.mark.parametrize("factor", [0.25, 1.0, -3.0])
def test_a_multiple_of_the_base_is_that_much_longer(factor: float) -> None:
    samples, y = torch.randn(50, 2, 3, 3), torch.zeros(50, dtype=torch.int64)
    found = kl_nats(Linear(factor), Linear(1.0), samples, y, seed=0)
    assert found.norm_ratio == pytest.approx(abs(factor), rel=1e-6) and found.norm_ratio_error < 1e-6 * abs(factor)


def test_the_ratio_is_a_mean_over_times_and_samples_of_ratios() -> None:
    """Of a velocity that is t times the base's: the mean of t over [0, t_max], not a ratio of mean norms."""

    class Growing(Linear):
        def velocity(self, x: torch.Tensor, t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return t.view(-1, 1, 1, 1) * super().velocity(x, t, y)

    samples, y = torch.randn(2000, 1, 1, 2), torch.zeros(2000, dtype=torch.int64)
    found = kl_nats(Growing(1.0), Linear(1.0), samples, y, seed=0, t_max=0.8)
    # One uniform t in each of J = 8 strata of width 0.1: a sample's mean has standard deviation 0.1 / sqrt(12 * 8).
    assert found.norm_ratio_error == pytest.approx(0.1 / (96 * 2000) ** 0.5, rel=0.1)
    assert found.norm_ratio == pytest.approx(0.4, abs=5 * found.norm_ratio_error)


def test_nothing_changed_is_nothing_and_batches_do_not_matter() -> None:
    samples, y = torch.randn(100, 1, 1, 1), torch.zeros(100, dtype=torch.int64)
    assert kl_nats(gaussian(0.0, 1.0), gaussian(0.0, 1.0), samples, y, seed=0).nats == 0
    assert kl_nats(gaussian(0.0, 1.0), gaussian(0.0, 1.0), samples, y, seed=0).norm_ratio == 1
    one = kl_nats(gaussian(0.3, 1.0), gaussian(0.0, 1.0), samples, y, seed=0)
    other = kl_nats(gaussian(0.3, 1.0), gaussian(0.0, 1.0), samples, y, seed=0, rows_at_once=24)
    assert other.nats == pytest.approx(one.nats, rel=1e-6)
    assert other.norm_ratio == pytest.approx(one.norm_ratio, rel=1e-4) and one.norm_ratio != 1
