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


@pytest.mark.parametrize(
    ("device", "gpus", "ranks"),
    [("cpu", None, 1), ("cpu", None, 4), ("cuda", 1, 1), ("cuda", 2, 2), ("cuda:1", None, 1)],
)
def test_what_is_there_is_taken(two_gpus: None, device: str, gpus: int | None, ranks: int) -> None:
    check_device(device, gpus, ranks)


@pytest.mark.parametrize(
    ("device", "gpus", "ranks", "error", "words"),
    [
        ("tpu", None, 1, UserError, "valid are cpu, cuda and cuda:N"),
        ("cuda:x", None, 1, UserError, "valid are cpu, cuda and cuda:N"),
        ("cuda:2", None, 1, MissingPrerequisite, "CUDA devices 0 to 1"),
        ("cuda:0", 2, 1, UserError, "with --gpus 2 give --device cuda"),
        ("cuda:0", None, 2, UserError, "with --ranks 2 give --device cuda"),
        ("cuda", 3, 1, MissingPrerequisite, "2 CUDA devices"),
        ("cuda", None, 3, MissingPrerequisite, "--ranks 3: torch sees 2"),
        ("cuda", 1, 2, UserError, "--gpus 1 is fewer"),
        ("cpu", 2, 1, UserError, "with --device cpu give --workers"),
    ],
)
def test_what_is_not_there_is_named(
    two_gpus: None, device: str, gpus: int | None, ranks: int, error: type[UserError], words: str
) -> None:
    with pytest.raises(error, match=words):
        check_device(device, gpus, ranks)
