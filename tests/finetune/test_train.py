"""The driver: exact resume from any update, checksums, and the NaN guard."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from finetune_models import FunctionReward, TinyModel, quadratic_reward

from drlbench.errors import IntegrityError
from drlbench.finetune.adjoint_matching import AdjointMatching
from drlbench.finetune.train import train
from drlbench.finetune.updater import Diverged

SETTINGS = {"steps": 5, "buffer": 8, "batch": 4, "passes": 2, "learning_rate": 1e-2, "warmup": 3, "ema": 0.9}


def fresh(seed: int = 1, **extra: object) -> AdjointMatching:
    return AdjointMatching(TinyModel(), TinyModel(), quadratic_reward(), None, SETTINGS | extra, seed)


def strip(rows: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def test_resume_at_every_update_repeats_the_run(tmp_path: Path) -> None:
    whole = fresh()
    expected = strip(train(whole, 12))
    final = whole.finished_policy().net.state_dict()
    for stop in range(1, 12):
        folder = tmp_path / str(stop)
        train(fresh(), stop, folder)
        resumed = fresh()
        assert strip(train(resumed, 12, folder)) == expected
        state = resumed.finished_policy().net.state_dict()
        assert all(torch.equal(state[k], final[k]) for k in final)


def test_a_kill_between_updates_resumes_from_the_last_checkpoint(tmp_path: Path) -> None:
    expected = strip(train(fresh(), 8))

    def crash(row: dict[str, float]) -> None:
        if row["update"] == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(fresh(), 8, tmp_path, checkpoint_seconds=0, on_step=crash)
    assert json.loads((tmp_path / "progress.json").read_text())["rows"][-1]["update"] == 4
    assert len(list(tmp_path.glob("state-*"))) == 1
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 4
    assert strip(train(fresh(), 8, tmp_path)) == expected
    assert strip([json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]) == expected


def test_what_on_step_adds_is_kept(tmp_path: Path) -> None:
    def add(row: dict[str, float]) -> None:
        row["held_out"] = row["update"] * 2.0

    train(fresh(), 3, tmp_path, on_step=add)
    assert train(fresh(), 3, tmp_path)[2]["held_out"] == 6.0


def test_other_settings_or_damage_are_refused(tmp_path: Path) -> None:
    train(fresh(), 2, tmp_path)
    with pytest.raises(IntegrityError, match="other settings"):
        train(fresh(learning_rate=1e-3), 3, tmp_path)
    with pytest.raises(IntegrityError, match="other settings"):
        train(fresh(seed=2), 3, tmp_path)
    (state,) = tmp_path.glob("state-*")
    state.write_bytes(state.read_bytes()[:-1])
    with pytest.raises(IntegrityError, match="checksum"):
        train(fresh(), 3, tmp_path)


def test_a_gradient_that_is_not_finite_names_update_and_tensor() -> None:
    run = fresh()
    run.step()
    before = [p.clone() for p in run.updater.parameters]
    run.updater.gradients = [torch.zeros_like(p) for p in run.updater.parameters]
    run.updater.gradients[run.updater.names.index("leave.bias")][1] = float("inf")
    with pytest.raises(Diverged, match=r"update 2: the gradient of 'leave.bias' is not finite \(1 of"):
        run.updater.step()
    assert all(torch.equal(p, q) for p, q in zip(run.updater.parameters, before, strict=True))


def test_a_policy_that_overflows_is_an_error_not_a_masked_batch() -> None:
    run = fresh()
    run.step()
    with torch.no_grad():
        run.policy.net.leave.bias[0] = 1e30
    with pytest.raises(Diverged, match="update 2: not one of the"):
        run.step()


def test_train_stops_at_a_loss_that_is_not_finite() -> None:
    run = fresh()
    assert isinstance(run.reward, FunctionReward)
    step = run.step
    run.step = lambda: step() | {"loss": float("nan")}  # type: ignore[method-assign]
    with pytest.raises(Diverged, match="update 1: loss is nan"):
        train(run, 2)
