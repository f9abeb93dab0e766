"""What every small network trained here shares: a log, and a folder it is kept in.

No pickle: weights are safetensors, everything else JSON.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from drlbench.errors import Diverged, IntegrityError, MissingPrerequisite

WEIGHTS = "weights.safetensors"
CONFIG = "config.json"
Progress = Callable[[float], Any]  # told the share of a training that is done, in (0, 1]


def unwatched(done: float) -> None:
    """For a training that nobody waits at."""


@dataclass
class TrainingLog:
    """What a training run did.

    Attributes:
        steps: the optimiser steps at which `series` were noted.
        series: named curves, one value per entry of `steps`.
        summary: named final figures (held-out accuracy, parameters, ...).
    """

    steps: list[int] = field(default_factory=list)
    series: dict[str, list[float]] = field(default_factory=dict)
    summary: dict[str, float] = field(default_factory=dict)

    def note(self, step: int, **values: float) -> None:
        """Add one row; every row names the same curves.

        Raises:
            Diverged: a value is not finite.
        """
        for name, value in values.items():
            if not math.isfinite(value):
                raise Diverged(f"step {step}: {name} is {value}; lower learning_rate")
        self.steps.append(step)
        for name, value in values.items():
            self.series.setdefault(name, []).append(float(value))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def warmup_then_linear(step: int, steps: int, warmup: int, hold: float, floor: float) -> float:
    """Learning-rate factor: linear warm-up, constant until `hold` of the steps, then linear down to `floor`."""
    if step < warmup:
        return (step + 1) / warmup
    start = hold * steps
    return 1.0 if step <= start else 1 - (1 - floor) * (step - start) / max(steps - start, 1)


def warmup_then_cosine(step: int, steps: int, warmup: int) -> float:
    """Learning-rate factor: linear warm-up, then half a cosine down to 0."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1)))


def to_float(images: NDArray[np.uint8]) -> Tensor:
    """uint8 images (N, H, W, C) -> float32 (N, C, H, W) in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).contiguous().float() / 255


def sent(drawn: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on a device; to a GPU through page-locked memory, so that nobody waits for the copy.

    A plain copy waits until the GPU has done all it was given, and the GPU then waits for the next draws.
    """
    if device.type == "cuda":
        return drawn.pin_memory().to(device, non_blocking=True)
    return drawn.to(device)


def weights_sha256(module: nn.Module) -> str:
    """First 12 hex digits of the sha256 over names, shapes and values of all weights and buffers."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]


def save_network(folder: Path, module: nn.Module, config: dict[str, Any]) -> None:
    """Write weights and config into `folder`, which is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in module.state_dict().items()}, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps(config, indent=1, sort_keys=True, allow_nan=False) + "\n")


def load_config(folder: Path, kind: str) -> dict[str, Any]:
    """Read the config `save_network` wrote.

    Raises:
        MissingPrerequisite: the folder holds no saved network.
        IntegrityError: it holds something else than a network of this kind.
    """
    if not (folder / CONFIG).is_file() or not (folder / WEIGHTS).is_file():
        raise MissingPrerequisite(f"{folder}: no saved network here ({CONFIG} and {WEIGHTS} are needed)")
    try:
        config: dict[str, Any] = json.loads((folder / CONFIG).read_text())
    except ValueError as error:
        raise IntegrityError(f"{folder / CONFIG}: is not JSON ({error})") from error
    if config.get("kind") != kind:
        raise IntegrityError(f"{folder}: holds a '{config.get('kind')}', not a '{kind}'")
    return config


def load_weights(folder: Path, module: nn.Module) -> None:
    """Load the weights `save_network` wrote.

    Raises:
        IntegrityError: the file is damaged or does not fit the network that its config describes.
    """
    try:
        module.load_state_dict(load_file(folder / WEIGHTS))
    except (RuntimeError, SafetensorError) as error:
        raise IntegrityError(f"{folder / WEIGHTS}: does not fit its config: {error}") from error
