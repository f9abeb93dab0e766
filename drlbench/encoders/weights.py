"""Weights of encoders and rewards: at a local path or where `drlbench.weights` finds them, read and put in strictly."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from drlbench.errors import IntegrityError, MissingPrerequisite, UserError
from drlbench.weights.asset import Asset
from drlbench.weights.copies import choose
from drlbench.weights.files import file_hash, resolve
from drlbench.weights.read import read_checkpoint
from drlbench.weights.skeleton import skeleton
from drlbench.weights.strict import load_strict

__all__ = ["load_strict", "locate", "read_state", "weights_hash"]


def locate(asset: Asset, weights: str | Path | None = None) -> Path:
    """Path of a weights file: `weights` itself (or `filename` inside it), else the cache, else a download.

    Raises:
        MissingPrerequisite: it is nowhere; the message says where from and how.
        IntegrityError: a downloaded or cached file has another size or sha256 than the published one.
    """
    if skeleton():
        return Path(asset.filename)
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


def weights_hash(path: Path) -> str:
    """Hex sha256 of a weights file."""
    return "0" * 64 if skeleton() else file_hash(path)


def read_state(path: Path) -> dict[str, Tensor]:
    """The network in a weights file; see `drlbench.weights`.

    Raises:
        IntegrityError: the file is damaged, or holds objects other than tensors and is therefore not read.
    """
    if skeleton():
        return {}
    try:
        return choose(read_checkpoint(path), where=str(path)).state
    except MissingPrerequisite:
        raise
    except UserError as error:
        raise IntegrityError(str(error)) from error
