"""The outlier threshold's recursion, and the regression that applies one threshold over any chunks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from finetune_models import TinyNet
from torch import Tensor

from drlbench.finetune.memory import Chunks
from drlbench.finetune.outliers import OutlierThreshold
from drlbench.finetune.regression import masked_regression
from drlbench.finetune.settings import Settings
from drlbench.finetune.updater import Updater


def test_the_recursion() -> None:
    """tau_n = rho tau + (1 - rho) min(quantile_alpha, c tau), by numpy."""
    threshold = OutlierThreshold(0.9, 0.8, 5.0)
    draws = [np.random.default_rng(i).exponential(size=200) * (100 if i == 3 else 1) for i in range(6)]
    tau = None
    for norms in draws:
        quantile = float(np.quantile(norms, 0.9))
        tau = quantile if tau is None else 0.8 * tau + 0.2 * min(quantile, 5 * tau)
        floor = threshold.floor
        assert threshold.update(torch.tensor(norms)) == pytest.approx(tau, rel=1e-6)
        assert floor <= tau, "rows under the floor are kept before tau is known"


def test_entries_that_are_not_finite_do_not_count() -> None:
    threshold = OutlierThreshold(0.5, 0.9, 5.0)
    norms = torch.tensor([1.0, float("nan"), 3.0, float("inf"), 2.0])
    assert threshold.update(norms) == pytest.approx(2.0)
    assert threshold.update(torch.tensor([float("nan")])) == pytest.approx(2.0)
    assert OutlierThreshold(None, 0.9, 5.0).update(norms) == math.inf


@pytest.mark.parametrize("size", [None, 40, 7, 1])
def test_masked_gradient_is_that_of_the_kept_rows(size: int | None) -> None:
    torch.manual_seed(0)
    net = TinyNet(4, 3, 8, 2)
    updater = Updater(net, Settings())
    x, t, y = torch.randn(40, 4), torch.rand(40), torch.arange(40) % 3
    x[5] *= 50
    threshold = OutlierThreshold(0.8, 0.9, 5.0)
    threshold.tau = 0.9 * float(net(x, t, y).detach().norm(dim=1).quantile(0.8))

    def residual(which: slice | Tensor) -> Tensor:
        return net(x[which], t[which], y[which])

    expected_tau = threshold.tau
    norms = net(x, t, y).detach().norm(dim=1)
    quantile = float(norms.quantile(0.8))
    expected_tau = 0.9 * expected_tau + 0.1 * min(quantile, 5 * expected_tau)
    keep = norms < expected_tau
    log = masked_regression(residual, 40, 0.3, threshold, Chunks(size), updater)
    loss = 0.15 * net(x, t, y)[keep].square().sum()
    expected = torch.autograd.grad(loss, updater.parameters)
    assert updater.gradients is not None
    for mine, theirs in zip(updater.gradients, expected, strict=True):
        assert torch.allclose(mine, theirs, rtol=1e-4, atol=1e-6)
    assert log["loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert log["masked"] == pytest.approx(1 - float(keep.float().mean()), abs=1e-6)
    assert log["threshold"] == pytest.approx(expected_tau, rel=1e-6)
