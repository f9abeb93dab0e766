"""The KL estimator against closed forms."""

from __future__ import annotations

import math

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


def test_nothing_changed_is_nothing_and_batches_do_not_matter() -> None:
    samples, y = torch.randn(100, 1, 1, 1), torch.zeros(100, dtype=torch.int64)
    assert kl_nats(gaussian(0.0, 1.0), gaussian(0.0, 1.0), samples, y, seed=0).nats == 0
    one = kl_nats(gaussian(0.3, 1.0), gaussian(0.0, 1.0), samples, y, seed=0)
    other = kl_nats(gaussian(0.3, 1.0), gaussian(0.0, 1.0), samples, y, seed=0, rows_at_once=24)
    assert other.nats == pytest.approx(one.nats, rel=1e-6)
