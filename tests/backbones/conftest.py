"""Golden inputs and outputs of the official code, made on a CPU in float32 (tests/golden/<name>)."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

GOLDEN = Path(__file__).parents[1] / "golden"


@dataclass
class Golden:
    folder: Path
    config: dict[str, Any]
    io: dict[str, Tensor]
    weights: dict[str, Tensor]


@pytest.fixture(scope="session")
def golden() -> Callable[[str], Golden]:
    def read(name: str) -> Golden:
        folder = GOLDEN / name
        config = json.loads((folder / "config.json").read_text())
        return Golden(folder, config, load_file(folder / "io.safetensors"), load_file(folder / "weights.safetensors"))

    return read


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)
