"""What every folder of tests shares.

One thread a process, set before anything imports numpy or torch: oversubscription costs a factor of 3 to 6.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")
# Nothing under test may reach a hub; what needs one is tested against a local server.
os.environ.setdefault("HF_HUB_OFFLINE", "1")


@dataclass
class Golden:
    """Inputs and outputs of the official code, made on a CPU in float32."""

    folder: Path
    config: dict[str, Any]
    io: dict[str, Any]
    weights: dict[str, Any]


@pytest.fixture(scope="session")
def golden() -> Callable[[str], Golden]:
    """Reads tests/golden/<name>."""

    def read(name: str) -> Golden:
        from safetensors.torch import load_file  # here, because most tests need no torch

        folder = Path(__file__).parent / "golden" / name
        config = json.loads((folder / "config.json").read_text())
        return Golden(folder, config, load_file(folder / "io.safetensors"), load_file(folder / "weights.safetensors"))

    return read


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages of `perform` are made in this process: a worker of its own imports torch again, for seconds.

    For tests of what a run makes; those of processes are in tests/run/executors and tests/fault.
    """
    from drlbench.run import perform
    from drlbench.run.executors.base import Work
    from drlbench.run.executors.local import InProcessExecutor

    def executor(store: Any, folder: Path, plan: Any, options: Any) -> InProcessExecutor:
        return InProcessExecutor(Work(store.place, options.device), options.device)

    monkeypatch.setattr(perform, "_executor", executor)
