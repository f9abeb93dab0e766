"""Held-out measures reach the rows, and the marker names the turn and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from finetune_models import TinyModel, quadratic_reward

from drlbench.errors import UserError
from drlbench.finetune.draft import DRaFT
from drlbench.finetune.heldout import measure_every, turn, turns
from drlbench.finetune.train import train


def series(values: list[float], error: float = 0.1) -> list[dict[str, float]]:
    return [{"update": 10 * (i + 1), "held_out/fd": v, "held_out/fd/error": error} for i, v in enumerate(values)]


def test_marker() -> None:
    found = turn(series([5, 4, 3, 4, 5]), "fd", "lower")
    assert found is not None
    assert (found.update, found.best, found.last) == (30, 3, 5)
    assert str(found) == "held-out fd: best 3 at update 30, 5 at the end"
    higher = turn(series([-5, -4, -3, -4, -5]), "fd", "higher")
    assert higher is not None
    assert (higher.update, higher.best) == (30, -3)
    assert turn(series([5, 4, 3, 2, 1]), "fd", "lower") is None, "still improving"
    assert turn(series([5, 4, 3, 5, 3.1]), "fd", "lower") is None, "came back"
    assert turn(series([5, 4, 3, 3.2, 3.2]), "fd", "lower") is None, "within the noise"
    assert turn(series([3, 4]), "fd", "lower") is None
    assert turn([{"update": 1, "loss": 2.0}], "fd", "lower") is None


def test_the_earliest_turn_comes_first() -> None:
    rows = series([5, 4, 3, 4, 5])
    for row, value in zip(rows, [1.0, 2.0, 0.0, 0.0, 0.0], strict=True):
        row |= {"held_out/taste": value, "held_out/taste/error": 0.1}
    assert [(t.name, t.update) for t in turns(rows, {"fd": "lower", "taste": "higher"})] == [("taste", 20), ("fd", 30)]
    assert turns(rows, {"taste": "lower"}) == []


def test_rows_carry_the_measures_through_a_resume(tmp_path: Path) -> None:
    def run() -> DRaFT:
        return DRaFT(TinyModel(), TinyModel(), quadratic_reward(), None, {"batch": 4, "sampler_steps": 3}, 0)

    def measure(policy: TinyModel) -> dict[str, tuple[float, float]]:
        return {"bias": (float(policy.net.leave.bias.sum()), 0.1)}

    algorithm = run()
    whole = train(algorithm, 6, on_step=measure_every(algorithm, 2, measure))
    assert [row["update"] for row in whole if "held_out/bias" in row] == [2, 4, 6]
    for updates in (3, 6):
        algorithm = run()
        rows = train(algorithm, updates, tmp_path, on_step=measure_every(algorithm, 2, measure))
    assert [row.get("held_out/bias") for row in rows] == [row.get("held_out/bias") for row in whole]
    with pytest.raises(UserError, match="every must be at least 1"):
        measure_every(algorithm, 0, measure)
