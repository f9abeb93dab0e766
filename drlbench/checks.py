"""What is checked before any work starts: settings of every registered kind, the device, the machine."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from drlbench.data.sources import check_data
from drlbench.errors import MissingPrerequisite, UserError
from drlbench.registry import ALGORITHMS, ENCODERS, REGISTRIES, REWARDS, Registry
from drlbench.settings import parse_settings
from drlbench.store.provenance import hardware, versions
from drlbench.suite.load import Location, Problem, Suite


def check_settings(suite: Suite) -> None:
    """Check the settings of every encoder, reward and algorithm against its kind's own record.

    Raises:
        UserError: every mistake at once, each with file:line:column.
    """
    spec, problems = suite.spec, []

    def check(at: Location, registry: Registry, kind: str, settings: dict[str, Any]) -> None:
        record = getattr(registry.get(kind), "Record", None)
        if record is None:
            return
        try:
            parse_settings(record, settings, "")
        except UserError as error:
            for line in str(error).splitlines():
                text = line.removeprefix(": ")
                named = next((k for k in settings if text.startswith((f"{k}:", f"unknown setting '{k}'"))), None)
                problems.append(Problem((*at, named) if named else at, text))

    try:
        check_data({"kind": spec.data.kind, **spec.data.settings})
    except UserError as error:
        problems.append(Problem(("data",), str(error)))
    for name, encoder in spec.encoders.items():
        check(("encoders", name), ENCODERS, encoder.kind, encoder.settings)
    for name, reward in spec.rewards.items():
        check(("rewards", name), REWARDS, reward.kind, reward.settings)
    for name, algorithm in spec.algorithms.items():
        check(("algorithms", name), ALGORITHMS, algorithm.kind, algorithm.settings)
    if problems:
        raise suite.error(problems)


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
        if gpus > torch.cuda.device_count():
            raise MissingPrerequisite(f"--gpus {gpus}: torch sees {torch.cuda.device_count()} CUDA devices here")


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
