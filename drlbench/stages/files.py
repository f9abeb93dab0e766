"""How models, encoders and rewards lie in a stage's folder, so that the next stage can read them back.

A model's folder: `config.json` (family, architecture, autoencoder) and `weights.safetensors` (the network's own
names). A base model from a checkpoint has no weights of its own there: its config names the file and its sha256, and
official weights of gigabytes stay where they are. Autoencoders are always referred to in this way.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import nn

from drlbench import backbones
from drlbench.backbones import loading, origin
from drlbench.backbones.base import Autoencoder, VelocityModel
from drlbench.backbones.origin import unchanged
from drlbench.backbones.rae.small import SmallRAE, load_small_rae
from drlbench.backbones.widened import widen
from drlbench.encoders.base import Encoder
from drlbench.errors import IntegrityError
from drlbench.metrics.base import Measurement
from drlbench.registry import ENCODERS, REWARDS
from drlbench.rewards.base import Reward
from drlbench.store import atomic
from drlbench.training import TrainingLog

WEIGHTS = "weights.safetensors"
CONFIG = "config.json"
AUTOENCODER = "autoencoder"  # of a latent model trained here: the name in its config and of its folder


def read_config(folder: Path) -> dict[str, Any]:
    """The `config.json` of a stage's folder."""
    config: dict[str, Any] = json.loads((folder / CONFIG).read_text())
    return config


def save_model(folder: Path, model: VelocityModel, config: Mapping[str, Any]) -> None:
    """Keep a model: weights of the network, and what `load_model` needs to build it again."""
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.net.state_dict().items()}
    save_file(weights, folder / WEIGHTS)
    atomic.put_json(folder / CONFIG, {**config, "kind": "model"})


def save_finetuned(folder: Path, model: VelocityModel, start: Path, policy: Mapping[str, int] | None = None) -> None:
    """Keep a fine-tuned model; all but the network's weights, and the `policy` it was given, is the start model's."""
    config = read_config(start)
    config.pop("checkpoint", None)
    if policy is not None:
        config["policy"] = dict(policy)
    save_model(folder, model, config)
    if (start / AUTOENCODER).is_dir():
        shutil.copytree(start / AUTOENCODER, folder / AUTOENCODER)


def save_small_rae(folder: Path, autoencoder: SmallRAE, encoder: Path) -> None:
    """Keep a small autoencoder under a model's folder, with a copy of its encoder's folder."""
    place = folder / AUTOENCODER
    place.mkdir()
    save_file({name: tensor.contiguous() for name, tensor in autoencoder.state_dict().items()}, place / WEIGHTS)
    tokens = (autoencoder.grid**2, autoencoder.basis.shape[0])
    settings = autoencoder.settings.model_dump(mode="json")
    shape = list(autoencoder.image_shape)
    atomic.put_json(place / CONFIG, {"settings": settings, "image_shape": shape, "tokens": list(tokens)})
    kept = (CONFIG, WEIGHTS)
    shutil.copytree(encoder, place / "encoder", ignore=lambda _, names: [n for n in names if n not in kept])


def load_model(
    folder: Path, device: str = "cpu", trainable: bool = False, policy: Mapping[str, int] | None = None
) -> VelocityModel:
    """Read a model that its stage kept, in eval mode; frozen unless its network is to be trained.

    Args:
        policy: widen its network so, with weights from torch's global generator; see `drlbench.backbones.widened`.

    Raises:
        IntegrityError: the folder holds no model, or weights that stayed where they are have changed since.
        MissingPrerequisite: such weights are no longer there.
    """
    config = read_config(folder)
    if config.get("kind") != "model":
        raise IntegrityError(f"{folder}: holds a {config.get('kind')!r}, not a model")
    if "checkpoint" in config:
        source = config["checkpoint"]
        path = unchanged(loading.locate(source["name"]), source["sha256"])
        net: Any = loading.load_network(path, config["family"], config["architecture"], source["ema"]).net
    else:
        net = backbones.create(config["family"], **config["architecture"])
        if "policy" in config:
            _widen(net, config, config["policy"])
        net.load_state_dict(load_file(folder / WEIGHTS))
    if policy is not None:
        _widen(net, config, policy)
    if config["autoencoder"] == AUTOENCODER:
        model = backbones.wrap(net, load_small_rae(folder / AUTOENCODER))
    else:
        model = backbones.wrap(net, _autoencoder(config["autoencoder"]))
    if not trainable:
        model.requires_grad_(False)
    elif isinstance(model.autoencoder, nn.Module):
        model.autoencoder.requires_grad_(False)
    return model.eval().to(device)


def _widen(net: nn.Module, config: Mapping[str, Any], policy: Mapping[str, int]) -> None:
    widen(net, config["family"], config["architecture"], policy["widen"], policy["depth"])


def _autoencoder(found: str | Mapping[str, Any]) -> Autoencoder | None:
    """The autoencoder of a model; one from outside is {"name": card or folder, "files": {role: sha256}}."""
    if isinstance(found, str):
        if found != "pixels":
            raise IntegrityError(f"unknown autoencoder {found!r} in a stored model")
        return None
    for role, path in origin.autoencoder_files(found["name"]).items():
        unchanged(path, found["files"][role])
    return loading.load_autoencoder(found["name"])


def load_encoder(folder: Path, device: str = "cpu") -> Encoder:
    """Read an encoder that its `save` kept."""
    config = read_config(folder)
    kind: type[Encoder] = ENCODERS.get(config["kind"])
    return kind.load(folder).to(device)


def load_encoders(inputs: Mapping[str, Path], device: str = "cpu") -> dict[str, Encoder]:
    """Every `encoder:<name>` among a stage's inputs, by name."""
    return {
        name.partition(":")[2]: load_encoder(folder, device)
        for name, folder in inputs.items()
        if name.startswith("encoder:")
    }


def load_reward(folder: Path, encoders: Mapping[str, Encoder], device: str = "cpu") -> Reward:
    """Read a reward that its stage kept; one that was fitted here finds the encoders it looks through by name."""
    config = read_config(folder)
    kind: type[Reward] = REWARDS.get(config["kind"])
    reward = kind.load(folder, [encoders[name] for name in config["encoders"]])
    return reward.requires_grad_(False).eval().to(device)


def write_curve(folder: Path, log: TrainingLog) -> None:
    """Keep a training curve in the shape of curves.json."""
    atomic.put_json(folder / "curve.json", {"step": log.steps, "series": log.series, "summary": log.summary})


def write_description(folder: Path, **facts: Any) -> None:
    """Keep what the report says of this result."""
    atomic.put_json(folder / "description.json", facts)


def measurement_row(m: Measurement) -> dict[str, Any]:
    """A measurement as rows.json has it."""
    return {
        "metric": m.metric,
        "value": float(m.value),
        "low": None if np.isnan(m.low) else float(m.low),
        "high": None if np.isnan(m.high) else float(m.high),
        "n": int(m.n),
        "better": m.better,
        "notes": list(m.notes),
        "details": {key: float(value) for key, value in m.details.items() if np.isfinite(value)},
    }


def write_measurements(folder: Path, measurements: list[Measurement]) -> None:
    """Keep rows.json and replicates.npz."""
    rows = [measurement_row(m) for m in measurements]
    draws: dict[str, NDArray[np.float64]] = {m.metric: m.replicates for m in measurements if m.replicates is not None}
    # numpy's stub reads any ** as the flag allow_pickle.
    np.savez_compressed(folder / "replicates.npz", **draws)  # type: ignore[arg-type] # its stub takes the keywords for options
    atomic.put_json(folder / "rows.json", rows)


def read_samples(folder: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images (n, H, W, C) uint8 and labels (n,) int64 of a samples stage."""
    with np.load(folder / "samples.npz", allow_pickle=False) as data:
        return data["images"], data["labels"]
