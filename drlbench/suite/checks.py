"""What is checked before any work starts: settings of every registered kind, the device, the machine."""

from __future__ import annotations

import inspect
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from drlbench.backbones.checkpoints import assets_of, find
from drlbench.backbones.pretrain import PretrainSettings
from drlbench.backbones.sizes import resolve
from drlbench.backbones.small_rae import LatentSettings
from drlbench.data.sources import check_data
from drlbench.errors import MissingPrerequisite, UserError, did_you_mean
from drlbench.registry import ALGORITHMS, ENCODERS, REGISTRIES, REWARDS, Registry
from drlbench.settings import Settings, faults
from drlbench.store.provenance import hardware, versions
from drlbench.suite.load import Location, Problem, Suite
from drlbench.suite.schema import BackboneSpec


def check_settings(suite: Suite) -> None:
    """Check the settings of every encoder, reward and algorithm against its kind's own record.

    Raises:
        UserError: every mistake at once, each with file:line:column.
    """
    spec = suite.spec
    problems: list[Problem] = []

    def check(at: Location, registry: Registry, kind: str, settings: dict[str, Any]) -> None:
        found = registry.get(kind)
        record = getattr(found, "Record", None)
        if record is None:
            problems.extend(Problem((*at, name), text) for name, text in _misfits(kind, found, settings))
        else:
            check_record(at, record, settings)

    def check_record(at: Location, record: type[Settings], settings: dict[str, Any]) -> None:
        for name, text in faults(record, settings):
            key = name.partition(".")[0]
            problems.append(Problem((*at, key) if key in settings else at, text))

    try:
        check_data({"kind": spec.data.kind, **spec.data.settings})
    except UserError as error:
        problems.append(Problem(("data",), str(error)))
    for name, backbone in spec.backbones.items():
        problems.extend(Problem(("backbones", name, key), text) for key, text in _unknown_weights(backbone))
        if backbone.pretrain is not None:
            check_record(("backbones", name, "pretrain"), PretrainSettings, backbone.pretrain)
        if backbone.latent is not None:
            check_record(("backbones", name, "latent"), LatentSettings, backbone.latent.settings)
    for name, encoder in spec.encoders.items():
        check(("encoders", name), ENCODERS, encoder.kind, encoder.settings)
    for name, reward in spec.rewards.items():
        check(("rewards", name), REWARDS, reward.kind, reward.settings)
    for name, algorithm in spec.algorithms.items():
        check(("algorithms", name), ALGORITHMS, algorithm.kind, algorithm.settings)
    if problems:
        raise suite.error(problems)


def _unknown_weights(backbone: BackboneSpec) -> Iterator[tuple[str, str]]:
    """Names of sizes, checkpoints and autoencoders that stand for nothing; a path that is not there is no mistake."""
    lookups: list[tuple[str, str | None, Callable[[str], object]]] = [
        ("size", backbone.size, lambda name: resolve(name, [])),
        ("checkpoint", backbone.checkpoint, find),
        ("autoencoder", backbone.autoencoder, lambda name: assets_of(None, name) if "/" not in name else None),
    ]
    for key, name, look_up in lookups:
        try:
            if name is not None:
                look_up(name)
        except MissingPrerequisite:
            continue
        except UserError as error:
            yield key, str(error)


def _misfits(kind: str, found: Any, settings: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Settings that a constructor without a record does not take, and presets that its module does not have."""
    parameters = inspect.signature(found).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    presets = getattr(sys.modules[found.__module__], "PRESETS", None)
    for name, value in settings.items():
        if name not in parameters:
            near = did_you_mean(name, parameters)
            yield name, f"{kind} takes no setting {name!r}{near}; valid: {', '.join(parameters)}"
        elif name == "preset" and presets is not None and value not in presets:
            yield name, f"unknown preset {value!r}{did_you_mean(str(value), presets)}; valid: {', '.join(presets)}"


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
