"""Held-out measures reach the rows, and the marker names the turn and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from finetune_models import TinyModel, quadratic_reward

from drlbench.errors import UserError
from drlbench.finetune.draft import DRaFT
from drlbench.finetune.heldout import measure_every, stop_marker
from drlbench.finetune.train import train


def series(values: list[float], error: float = 0.1) -> list[dict[str, float]]:
    return [{"update": 10 * (i + 1), "held_out/fd": v, "held_out/fd/error": error} for i, v in enumerate(values)]


def test_marker() -> None:
    assert stop_marker(series([5, 4, 3, 4, 5]), "fd", "lower") == 30
    assert stop_marker(series([-5, -4, -3, -4, -5]), "fd", "higher") == 30
    assert stop_marker(series([5, 4, 3, 2, 1]), "fd", "lower") is None, "still improving"
    assert stop_marker(series([5, 4, 3, 5, 3.1]), "fd", "lower") is None, "came back"
    assert stop_marker(series([5, 4, 3, 3.2, 3.2]), "fd", "lower") is None, "within the noise"
    assert stop_marker(series([3, 4]), "fd", "lower") is None
    assert stop_marker([{"update": 1, "loss": 2.0}], "fd", "lower") is None


def test_rows_carry_the_measures_through_a_resume(tmp_path: Path) -> None:
    def run() -> DRaFT:
        return DRaFT(TinyModel(), TinyModel(), quadratic_reward(), None, {"batch": 4, "sampler_steps": 3}, 0)

    def measure(policy: TinyModel) -> tuple[float, float]:
        return float(policy.net.leave.bias.sum()), 0.1

    algorithm = run()
    whole = train(algorithm, 6, on_step=measure_every(algorithm, 2, {"bias": measure}))
    assert [row["update"] for row in whole if "held_out/bias" in row] == [2, 4, 6]
    for updates in (3, 6):
        algorithm = run()
        rows = train(algorithm, updates, tmp_path, on_step=measure_every(algorithm, 2, {"bias": measure}))
    assert [row.get("held_out/bias") for row in rows] == [row.get("held_out/bias") for row in whole]
    with pytest.raises(UserError, match="every must be at least 1"):
        measure_every(algorithm, 0, {})
