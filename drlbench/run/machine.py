"""The machine a run is asked of: whether the device is there, and what else `drlbench doctor` says of it."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

from drlbench.errors import MissingPrerequisite, UserError, did_you_mean
from drlbench.registry import REGISTRIES
from drlbench.store.provenance import hardware, versions


def check_device(device: str, gpus: int | None = None, ranks: int = 1) -> None:
    """Refuse a device that is not there, or too few of them.

    Args:
        gpus: how many are to be used; None for all.
        ranks: processes of each fine-tune, with a GPU each.

    Raises:
        UserError: not a device name. MissingPrerequisite: no such device on this machine.
    """
    kind = device.partition(":")[0]
    if kind not in ("cpu", "cuda"):
        raise UserError(f"--device {device!r}: valid are cpu, cuda and cuda:N")
    if kind == "cpu" and gpus is not None:
        raise UserError("--gpus counts GPUs; with --device cpu give --workers, or --ranks for each fine-tune")
    if gpus is not None and gpus < ranks:
        raise UserError(f"--ranks {ranks} wants a GPU for each rank, --gpus {gpus} is fewer")
    if kind == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise MissingPrerequisite("--device cuda: torch sees no CUDA device here; use --device cpu")
        wanted, flag = (gpus, "--gpus") if gpus is not None else (ranks, "--ranks")
        if wanted > 1 and ":" in device:
            raise UserError(f"--device {device} is one GPU; with {flag} {wanted} give --device cuda")
        count, number = torch.cuda.device_count(), device.partition(":")[2]
        if ":" in device and not number.isdigit():
            raise UserError(f"--device {device!r}: valid are cpu, cuda and cuda:N")
        if number and int(number) >= count:
            raise MissingPrerequisite(f"--device {device}: torch sees CUDA devices 0 to {count - 1} here")
        if wanted > count:
            raise MissingPrerequisite(f"{flag} {wanted}: torch sees {count} CUDA devices here")


def check_executor(name: str, address: str | None) -> None:
    """Refuse an executor that does not exist or is not installed.

    Raises:
        UserError: not its name, or an address without Ray. MissingPrerequisite: Ray is not installed.
    """
    valid = ["local", "ray"]
    if name not in valid:
        raise UserError(f"--executor {name!r} is not there{did_you_mean(name, valid)}; valid: {', '.join(valid)}")
    if address is not None and name != "ray":
        raise UserError("--address names a Ray cluster; give --executor ray with it")
    if name == "ray" and find_spec("ray") is None:
        raise MissingPrerequisite("--executor ray: Ray is not installed; pip install 'drlbench[ray]'")


def diagnose() -> str:
    """Versions, hardware, disk and plug-ins, one fact a line."""
    lines = [f"{name}: {value}" for name, value in {**versions(), **hardware()}.items()]
    import torch

    if torch.cuda.is_available():
        lines += [f"gpu {i}: {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count())]
    else:
        lines.append("gpu: none that torch can use")
    if torch.version.cuda is not None:
        nccl = ".".join(map(str, torch.cuda.nccl.version())) if torch.distributed.is_nccl_available() else "none"
        lines.append(f"torch's CUDA: {torch.version.cuda}, NCCL: {nccl}")
    driver = Path("/proc/driver/nvidia/version")
    if driver.is_file():
        lines.append(f"driver: {driver.read_text().splitlines()[0].removeprefix('NVRM version: ')}")
    lines.append(f"free disk here: {shutil.disk_usage(Path.cwd()).free / 1e9:.1f} GB")
    for registry in REGISTRIES.values():
        lines += [f"plug-in {registry.kind[:-1]}: {name} -> {point.value}" for name, point in registry.plugins.items()]
    return "\n".join(lines)
