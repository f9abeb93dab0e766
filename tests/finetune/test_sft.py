"""Flow-matching fine-tuning moves the model to the data, and its loss is the printed one."""

from __future__ import annotations

import pytest
import torch
from finetune_models import MixtureModel, TinyModel

from drlbench.errors import UserError
from drlbench.finetune.learner import shadow
from drlbench.finetune.sft import FlowMatchingSFT


def test_the_optimum_is_the_data() -> None:
    torch.manual_seed(0)
    base = MixtureModel(torch.tensor([[0.0]]), 1.0, torch.ones(1))
    data = 0.5 * torch.randn(4000, 1, 1, 1) + 1.0
    settings = {"batch": 512, "learning_rate": 5e-3, "ema": 0.98, "warmup": 20}
    run = FlowMatchingSFT(base, shadow(base), None, (data, torch.zeros(4000, dtype=torch.int64)), settings, 0)
    for _ in range(400):
        run.step()
    tuned, x = run.finished_policy(), torch.randn(8000, 1, 1, 1)
    y = torch.zeros(8000, dtype=torch.int64)
    with torch.no_grad():
        for k in range(50):
            middle = x + tuned.velocity(x, torch.full((8000,), k / 50), y) / 100
            x = x + tuned.velocity(middle, torch.full((8000,), (k + 0.5) / 50), y) / 50
    assert float(x.mean()) == pytest.approx(1.0, abs=0.05)
    assert float(x.std()) == pytest.approx(0.5, abs=0.05)


def test_one_epoch_visits_every_latent_once_and_chunks_do_not_matter() -> None:
    data = (torch.randn(12, 1, 2, 2), torch.arange(12) % 3)
    runs = [
        FlowMatchingSFT(TinyModel(), TinyModel(), None, data, {"batch": 4, "learning_rate": 1e-2} | extra, 0)
        for extra in ({}, {"micro_batch": 3})
    ]
    visits = torch.cat([runs[0]._epoch_rows(list(range(4 * u, 4 * u + 4))) for u in range(3)])
    assert sorted(visits.tolist()) == list(range(12))
    for _ in range(5):
        one, other = runs[0].step(), runs[1].step()
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-5)


def test_the_clamped_target_is_jits() -> None:
    """With the backbone's floor, the target is (x1 - x_t)/max(1 - t, floor): a network that outputs it has no loss."""
    data = (torch.randn(8, 1, 2, 2), torch.zeros(8, dtype=torch.int64))
    model = TinyModel()
    model.time_floor = 0.5
    run = FlowMatchingSFT(model, TinyModel(), None, data, {"batch": 8}, 0)
    x1 = {}

    def exact(x: torch.Tensor, t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        x1["v"] = (data[0][run._epoch_rows(list(range(8)))] - x) / (1 - t).clamp_min(0.5).reshape(-1, 1, 1, 1)
        return x1["v"] + 0 * next(run.policy.net.parameters()).sum()

    run.policy_velocity = exact
    assert run.step()["loss"] < 1e-10


def test_data_is_required() -> None:
    with pytest.raises(UserError, match="sft learns from data"):
        FlowMatchingSFT(TinyModel(), TinyModel(), None, None, {}, 0)
