"""`doctor` names what would stop a run and the command that mends it; `fetch --into` and `--check`."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from drlbench.run import doctor
from drlbench.run.doctor import Question, troubles

ROOT = Path(__file__).resolve().parents[2]


def told(ask: Question) -> str:
    return "\n".join(t.to_text() for t in troubles(ask))


def test_a_machine_that_can_run_has_no_trouble_and_is_left_as_it_was(tmp_path: Path) -> None:
    assert told(Question(tmp_path / "new" / "store", "cpu", 1)) == ""
    assert list(tmp_path.iterdir()) == []


def test_each_thing_in_the_way_has_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=2_000_000_000))
    limits = {resource.RLIMIT_NOFILE: 256, resource.RLIMIT_AS: 1 << 32}
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (limits.get(kind, resource.RLIM_INFINITY),) * 2)
    blocked = tmp_path / "file"
    blocked.write_text("")
    found = told(Question(blocked / "store", "cpu", 8))
    assert "--workers 2" in found and "ulimit -n 1024" in found and "ulimit -v unlimited" in found
    assert "a file stands where a folder should be" in found and "--store" in found


def test_a_clock_that_is_behind_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1e9)
    found = told(Question(tmp_path, "cpu", 1))
    assert "timedatectl set-ntp true" in found and "the clock of the store's file system" in found


def test_cuda_without_a_driver_or_with_one_that_torch_cannot_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(doctor, "has_gpu", lambda: False)
    assert "no NVIDIA driver" in told(Question(tmp_path, "cuda", 1))
    monkeypatch.setattr(doctor, "has_gpu", lambda: True)
    monkeypatch.setattr("torch.version.cuda", None)
    assert "torch is built without CUDA" in told(Question(tmp_path, None, 1))


def test_a_device_that_computes_is_told_from_one_that_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    assert doctor.fails("cpu") == ""
    product = torch.Tensor.__matmul__
    calls = iter((1.0, 0.0))  # what the device says, then what is right
    monkeypatch.setattr(torch.Tensor, "__matmul__", lambda a, b: product(a, b) + next(calls))
    assert doctor.fails("cpu") == "the result is wrong"
    if not torch.cuda.is_available():
        assert doctor.fails("cuda:0") != ""


def test_each_gpu_is_asked_and_nccl_where_there_are_several(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda i: f"card {i}")
    monkeypatch.setattr(doctor, "has_gpu", lambda: True)
    monkeypatch.setattr(doctor, "fails", lambda device: "no kernel image" if device == "cuda:1" else "")
    found = told(Question(tmp_path, "cuda", 1))
    assert "GPU 1 (card 1) does not multiply" in found and "no kernel image" in found and "nvidia-smi -q -i 1" in found
    assert "GPU 0" not in found and "NCCL does not" not in found, "NCCL is not asked over a GPU that does not compute"
    assert "GPU" not in told(Question(tmp_path, "cpu", 1))
    monkeypatch.setattr(doctor, "fails", lambda device: "")
    monkeypatch.setattr(doctor, "_nccl_fails", lambda count: "unhandled system error")
    assert "NCCL does not join the 2 GPUs: unhandled system error" in told(Question(tmp_path, "cuda", 1))
    monkeypatch.setattr("torch.distributed.is_nccl_available", lambda: False)
    assert "torch has no NCCL" in told(Question(tmp_path, "cuda", 1))


def test_the_verb_ends_with_six_where_a_cluster_is_not_there(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    command = [sys.executable, "-m", "drlbench", "doctor", "--device", "cpu", "--workers", "1"]
    done = subprocess.run(
        [*command, "--address", "127.0.0.1:9"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 6 and "no Ray cluster to join" in done.stdout, done.stderr


def test_fetch_into_a_folder_and_check_it(tmp_path: Path) -> None:
    suite = ROOT / "suites" / "imagenet256.yaml"
    command = [sys.executable, "-m", "drlbench", "fetch", str(suite), "--into", "carried", "--check"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 6
    assert "offline: the network was not touched" in done.stderr
    plain = [*command[:4], str(ROOT / "tests" / "fault" / "tiny.yaml"), "--into", "carried"]
    done = subprocess.run(plain, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"export HF_HOME={tmp_path / 'carried' / 'huggingface'}" in done.stdout
