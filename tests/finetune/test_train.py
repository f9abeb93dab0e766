"""The driver: exact resume from any update, checksums, and the NaN guard."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from finetune_models import FunctionReward
from killed_run import LONG, fresh

from drlbench.errors import Diverged, IntegrityError
from drlbench.finetune import adjoint_matching
from drlbench.finetune import train as driver
from drlbench.finetune.train import train
from drlbench.store import checkpoint


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


@pytest.mark.parametrize("instant", ["before the state", "before the record", "before the old state goes"])
def test_a_kill_while_saving_resumes_from_a_whole_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, instant: str
) -> None:
    expected = strip(train(fresh(), 8))
    train(fresh(), 3, tmp_path)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if instant == "before the old state goes":
            patch.setattr(Path, "unlink", killed)
        else:
            patch.setattr(checkpoint, "write_bytes" if instant == "before the state" else "write_json", killed)
        with pytest.raises(KeyboardInterrupt):
            train(fresh(), 6, tmp_path)
    reached = json.loads((tmp_path / "progress.json").read_text())["rows"][-1]["update"]
    assert reached == (6 if instant == "before the old state goes" else 3)
    assert strip(train(fresh(), 8, tmp_path)) == expected
    assert len(list(tmp_path.glob("state-*"))) == 1


def test_kill_nine_in_the_middle_repeats_the_run(tmp_path: Path) -> None:
    """A process that saves after every update is killed twice; what is left goes on to the same bits."""
    whole = fresh()
    expected = strip(train(whole, LONG))
    command = [sys.executable, str(Path(__file__).with_name("killed_run.py")), str(tmp_path)]
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    for target in (15, 40):
        process = subprocess.Popen(command, env=env, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 60
        while not (done := lines(tmp_path / "metrics.jsonl")) >= target and time.monotonic() < deadline:
            time.sleep(0.002)
        process.kill()
        _, errors = process.communicate()
        assert process.returncode == -signal.SIGKILL, errors.decode()
        assert target <= done < LONG
    resumed = fresh()
    assert strip(train(resumed, LONG, tmp_path)) == expected
    final = whole.state_dict()
    assert all(torch.equal(value, final[name]) for name, value in resumed.state_dict().items())


def lines(path: Path) -> int:
    return path.read_text().count("\n") if path.is_file() else 0


def test_a_large_buffer_in_use_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adjoint_matching, "SAVE_LIMIT", 0)
    saved: list[int] = []
    monkeypatch.setattr(driver, "_save", lambda algorithm, folder, rows: saved.append(len(rows)))
    train(fresh(), 10, tmp_path, checkpoint_seconds=0)
    assert saved == [4, 8, 10], "where a buffer of 8 has had its two passes of batches of 4, and at the end"


def test_checkpoints_keep_to_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(10_000))  # every look at the clock is a second later
    monkeypatch.setattr(driver, "time", SimpleNamespace(monotonic=lambda: next(now), process_time=time.process_time))
    saved: list[int] = []
    monkeypatch.setattr(driver, "_save", lambda algorithm, folder, rows: saved.append(len(rows)))
    train(fresh(), 12, tmp_path, checkpoint_seconds=3)
    assert saved == [3, 6, 9, 12]


def test_checkpoints_that_are_written_quickly_come_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes a second here: the first after 2, the others after 4 times what the last one took."""
    now = iter(range(10_000))
    monkeypatch.setattr(driver, "time", SimpleNamespace(monotonic=lambda: next(now), process_time=time.process_time))
    monkeypatch.setattr(checkpoint, "LEAST", 2.0)
    monkeypatch.setattr(checkpoint, "SPARING", 4)
    saved: list[int] = []
    monkeypatch.setattr(driver, "_save", lambda algorithm, folder, rows: saved.append(len(rows)))
    train(fresh(), 13, tmp_path)
    assert saved == [2, 6, 10, 13]


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
    with pytest.raises(Diverged, match=r"update 2: the residual of sample 0 is not finite \(8 of 8\)"):
        run.step()


def test_train_stops_at_a_loss_that_is_not_finite() -> None:
    run = fresh()
    assert isinstance(run.reward, FunctionReward)
    step = run.step
    run.step = lambda: step() | {"loss": float("nan")}  # type: ignore[method-assign] # a step gone wrong
    with pytest.raises(Diverged, match="update 1: loss is nan"):
        train(run, 2)
