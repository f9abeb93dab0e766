"""On a GPU stages run in an order that repeats; what cannot is told and run all the same. A CPU is left alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from drlbench.run.executors import devices
from drlbench.stages import Job

REFUSAL = (
    "max_pool2d_backward_cuda does not have a deterministic implementation, but you set "
    "'torch.use_deterministic_algorithms(True)'.\nmore"
)


@pytest.fixture(autouse=True)
def put_back(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    filled = torch.utils.deterministic.fill_uninitialized_memory
    yield
    torch.use_deterministic_algorithms(False)
    torch.utils.deterministic.fill_uninitialized_memory = filled


def job(folder: Path, device: str) -> Job:
    (folder / "out").mkdir()
    return Job({}, {}, folder / "out", folder / "partial", device, lambda _: None)


def test_a_gpu_is_made_to_repeat_and_a_cpu_left_alone(monkeypatch):
    chosen: list[str] = []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    devices.prepare("cpu")
    assert not torch.are_deterministic_algorithms_enabled() and "CUBLAS_WORKSPACE_CONFIG" not in os.environ
    devices.prepare("cuda:1")
    assert chosen == ["cuda:1"]
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.is_deterministic_algorithms_warn_only_enabled(), "attention's gradient repeats only strictly"
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


def test_a_stage_that_cannot_repeat_starts_afresh_and_says_so(monkeypatch, tmp_path, capsys):
    seen = []

    def stage(job: Job) -> None:
        seen.append((torch.is_deterministic_algorithms_warn_only_enabled(), sorted(p.name for p in job.out.iterdir())))
        (job.out / "half").mkdir()
        (job.out / "curve.json").write_text("{}")
        if len(seen) == 1:
            raise RuntimeError(REFUSAL)

    monkeypatch.setattr(devices, "stage_function", lambda kind, settings: stage)
    torch.use_deterministic_algorithms(True)
    devices.run_stage("reward", job(tmp_path, "cuda:0"))
    assert seen == [(False, []), (True, [])]
    assert not torch.is_deterministic_algorithms_warn_only_enabled()
    told = capsys.readouterr().err
    assert "reward" in told and "max_pool2d_backward_cuda" in told and "more" not in told


@pytest.mark.parametrize(("device", "message"), [("cpu", REFUSAL), ("cuda:0", "shapes differ")])
def test_every_other_error_is_passed_on(monkeypatch, tmp_path, device, message):
    def stage(job: Job) -> None:
        raise RuntimeError(message)

    monkeypatch.setattr(devices, "stage_function", lambda kind, settings: stage)
    with pytest.raises(RuntimeError, match=message.split()[0]):
        devices.run_stage("reward", job(tmp_path, device))
