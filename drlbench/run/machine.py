"""The machine a run is asked of: whether the device is there, and what else `drlbench doctor` says of it."""

from __future__ import annotations

import shutil
from pathlib import Path

from drlbench.errors import MissingPrerequisite, UserError
from drlbench.registry import REGISTRIES
from drlbench.store.provenance import hardware, versions


def check_device(device: str, gpus: int = 1) -> None:
    """Refuse a device that is not there, or too few of them.

    Raises:
        UserError: not a device name. MissingPrerequisite: no such device on this machine.
    """
    kind = device.partition(":")[0]
    if kind not in ("cpu", "cuda"):
        raise UserError(f"--device {device!r}: valid are cpu, cuda and cuda:N")
    if kind == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise MissingPrerequisite("--device cuda: torch sees no CUDA device here; use --device cpu")
        if gpus > 1 and ":" in device:
            raise UserError(f"--device {device} is one GPU; with --gpus {gpus} give --device cuda")
        count, number = torch.cuda.device_count(), device.partition(":")[2]
        if ":" in device and not number.isdigit():
            raise UserError(f"--device {device!r}: valid are cpu, cuda and cuda:N")
        if number and int(number) >= count:
            raise MissingPrerequisite(f"--device {device}: torch sees CUDA devices 0 to {count - 1} here")
        if gpus > count:
            raise MissingPrerequisite(f"--gpus {gpus}: torch sees {count} CUDA devices here")


def diagnose() -> str:
    """Versions, hardware, disk and plug-ins, one fact a line."""
    lines = [f"{name}: {value}" for name, value in {**versions(), **hardware()}.items()]
    import torch

    if torch.cuda.is_available():
        lines += [f"gpu {i}: {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count())]
    else:
        lines.append("gpu: none that torch can use")
    lines.append(f"free disk here: {shutil.disk_usage(Path.cwd()).free / 1e9:.1f} GB")
    for registry in REGISTRIES.values():
        lines += [f"plug-in {registry.kind[:-1]}: {name} -> {point.value}" for name, point in registry.plugins.items()]
    return "\n".join(lines)
