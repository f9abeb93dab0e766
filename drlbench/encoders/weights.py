"""Weights of encoders and rewards: at a local path or where `drlbench.weights` finds them, read and put in strictly."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from drlbench.errors import IntegrityError, MissingPrerequisite, UserError
from drlbench.weights.asset import Asset
from drlbench.weights.files import file_hash as weights_hash
from drlbench.weights.files import resolve

__all__ = ["load_strict", "locate", "read_state", "weights_hash"]


def locate(asset: Asset, weights: str | Path | None = None) -> Path:
    """Path of a weights file: `weights` itself (or `filename` inside it), else the cache, else a download.

    Raises:
        MissingPrerequisite: it is nowhere; the message says where from and how.
        IntegrityError: a downloaded or cached file has another size or sha256 than the published one.
    """
    if weights is None:
        try:
            return resolve(asset)
        except MissingPrerequisite as error:
            raise MissingPrerequisite(f"{error}; or give its path as `weights`") from error
    path = Path(weights).expanduser()
    path = path / asset.filename if path.is_dir() else path
    if not path.is_file():
        raise MissingPrerequisite(f"{asset.name}: no weights file at {path}")
    return path


def read_state(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file or a torch checkpoint, unwrapped from a `state_dict` entry.

    Raises:
        IntegrityError: the file is damaged, or holds objects other than tensors and is therefore not read.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
        raise IntegrityError(f"{path}: cannot be read as weights ({error})") from error
    except Exception as error:  # torch raises pickle.UnpicklingError, which house rules keep out of the imports
        raise IntegrityError(f"{path}: holds more than tensors and is not unpickled ({error})") from error
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise IntegrityError(f"{path}: is not a flat table of tensors")
    return dict(state)


def load_strict(module: nn.Module, state: Mapping[str, Tensor], where: str, ignored: tuple[str, ...] = ()) -> None:
    """Put every tensor where it belongs; `ignored` are endings of keys that the module derives itself.

    Raises:
        UserError: keys are missing or left over, or shapes differ; the first few are named.
    """
    kept = {key: value for key, value in state.items() if not key.endswith(ignored)} if ignored else dict(state)
    own = module.state_dict()
    missing, extra = sorted(own.keys() - kept.keys()), sorted(kept.keys() - own.keys())
    other = sorted(k for k in own.keys() & kept.keys() if own[k].shape != kept[k].shape)
    if missing or extra or other:
        parts = [
            f"{len(keys)} {word} ({', '.join(keys[:3])}{', …' if len(keys) > 3 else ''})"
            for keys, word in ((missing, "missing"), (extra, "left over"), (other, "of another shape"))
            if keys
        ]
        raise UserError(f"{where}: the checkpoint does not fit: {'; '.join(parts)}")
    module.load_state_dict(kept, strict=True, assign=True)
