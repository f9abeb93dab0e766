"""Devices that are not there are refused before anything is started."""

from __future__ import annotations

import pytest
import torch

from drlbench.errors import MissingPrerequisite, UserError
from drlbench.run.machine import check_device


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.parametrize(("device", "gpus"), [("cpu", 1), ("cuda", 1), ("cuda", 2), ("cuda:1", 1)])
def test_what_is_there_is_taken(two_gpus: None, device: str, gpus: int) -> None:
    check_device(device, gpus)


@pytest.mark.parametrize(
    ("device", "gpus", "error", "words"),
    [
        ("tpu", 1, UserError, "valid are cpu, cuda and cuda:N"),
        ("cuda:x", 1, UserError, "valid are cpu, cuda and cuda:N"),
        ("cuda:2", 1, MissingPrerequisite, "CUDA devices 0 to 1"),
        ("cuda:0", 2, UserError, "is one GPU"),
        ("cuda", 3, MissingPrerequisite, "2 CUDA devices"),
    ],
)
def test_what_is_not_there_is_named(two_gpus: None, device: str, gpus: int, error: type[UserError], words: str) -> None:
    with pytest.raises(error, match=words):
        check_device(device, gpus)
