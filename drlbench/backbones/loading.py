"""From a specification to a velocity model: network, checkpoint and autoencoder, each from a card or a local path."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from drlbench.backbones import create, wrap
from drlbench.backbones.autoencoders import SD_SCALE, load_sd_vae
from drlbench.backbones.base import Autoencoder, Backbone, PixelRange, VelocityModel
from drlbench.backbones.cards import CARDS, autoencoder_card
from drlbench.backbones.checkpoints import find
from drlbench.backbones.exported import read_exported
from drlbench.backbones.folders import RAE, SMALL_RAE, kind_of
from drlbench.backbones.infer import family_of, infer_architecture
from drlbench.backbones.keys import FINGERPRINTS, marks
from drlbench.backbones.origin import autoencoder_for
from drlbench.backbones.rae.folder import load_rae, load_rae_folder
from drlbench.backbones.rae.small import load_small_rae
from drlbench.backbones.sit.network import SiT
from drlbench.backbones.sizes import SIZES, size_key
from drlbench.errors import UserError
from drlbench.registry import BACKBONES
from drlbench.settings import Settings, parse_settings
from drlbench.weights.copies import Chosen, choose
from drlbench.weights.files import Progress, resolve
from drlbench.weights.read import read_checkpoint

LOGGER = logging.getLogger("drlbench")


class ModelSpec(Settings):
    """A model to load.

    Attributes:
        backbone: "sit", "jit", "repa", "rae" or an official size; left out, the checkpoint's card says.
        architecture: constructor arguments; they override those of a named size.
        checkpoint: a card's name ("sit-xl-2-256"), a local file, or a folder that `drlbench export` wrote.
        ema: which copy of the weights to take from a training checkpoint: its name, False for raw weights, None for the
            average where there is one.
        autoencoder: "pixels", a card's name, or a local folder (an SD-VAE or RAE, see `drlbench.backbones.folders`);
            None takes the card's, or for an official latent size the one it was trained on.
    """

    backbone: str | None = None
    architecture: dict[str, Any] = Field(default_factory=dict)
    checkpoint: str
    ema: str | bool | None = None
    autoencoder: str | None = None


def load(
    spec: str | Mapping[str, Any],
    device: str | torch.device = "cpu",
    offline: bool | None = None,
    progress: Progress | None = None,
) -> VelocityModel:
    """A frozen model in eval mode, in the one convention.

    Args:
        spec: a card's name, or the fields of `ModelSpec`.
        device: where it is put.
        offline: True never touches the network; None follows the environment.
        progress: told how far a download is.

    Raises:
        UserError: an unknown name, a damaged file, or weights that do not fit.
        MissingPrerequisite: a file is not here and cannot be fetched.
        IntegrityError: a file is not the one its card describes.
    """
    record = parse_settings(ModelSpec, {"checkpoint": spec} if isinstance(spec, str) else spec, "model")
    card = CARDS.get(record.checkpoint)
    path = locate(record.checkpoint, offline, progress)
    ema = ema_of(record.checkpoint, record.ema)
    try:
        loaded = load_network(path, record.backbone or (card.size if card else None), record.architecture, ema)
    except UserError as error:
        raise type(error)(str(error) if str(path) in str(error) else f"{path}: {error}") from error
    if loaded.note:
        LOGGER.warning("%s: %s", path, loaded.note)
    choice = autoencoder_for(record.checkpoint, record.backbone or "", record.autoencoder)
    model = wrap(loaded.net, load_autoencoder(choice, offline, progress))
    return model.requires_grad_(False).eval().to(device)


def ema_of(checkpoint: str, asked: str | bool | None) -> str | bool | None:
    """Which copy of a checkpoint's weights to take: the one asked for, else its card's."""
    card = CARDS.get(checkpoint)
    return card.ema if asked is None and card and card.ema else asked


def locate(checkpoint: str, offline: bool | None = None, progress: Progress | None = None) -> Path:
    """The weights file that a card's name or a path stands for; fetched when need be. Errors as for `load`."""
    found = find(checkpoint)
    return found if isinstance(found, Path) else resolve(found, offline, progress)


class Loaded(NamedTuple):
    """A network with its weights, the name and arguments that `create` builds the like of it from, and what was taken.

    `note` says in words which copy of the weights the file's was, and what was removed from its names.
    """

    net: Backbone
    name: str
    architecture: dict[str, Any]
    note: str


def load_network(
    path: Path, name: str | None, architecture: Mapping[str, Any], ema: str | bool | None = None
) -> Loaded:
    """A network with the weights of a file, in its official convention.

    Args:
        name: an official size, a backbone whose architecture is then read off the weights, or None, and the backbone
            is read off them too.
        architecture: constructor arguments that are not to be read off the weights.
        ema: which copy of the weights, see `ModelSpec`.

    Raises:
        UserError: a damaged file, weights that do not fit, or an architecture that they do not tell.
    """
    arguments = dict(architecture)
    described = read_exported(path)
    if described is not None and (name is None or _family(name) == _family(described.family)):
        name, arguments = described.family, {**described.architecture, **architecture}
    else:
        described = None
    wanted = _family(name) if name else None
    chosen = chosen_weights(path, ema)
    if described is None and (wanted is None or wanted in FINGERPRINTS):
        state = chosen.state
        family = family_of(state)
        if family is None and wanted is None:
            raise UserError(f"model: say which backbone the weights in {path} are for, as in backbone: sit-xl-2")
        if family is not None and wanted is not None and family != wanted:
            raise UserError(f"state dict does not fit {name}; these look like the weights of '{family}'")
        if name is None or name == wanted:
            name = family or wanted
            if "hidden_size" not in architecture:  # with it the architecture is described, and misfits are the file's
                arguments = infer_architecture(str(name), state, architecture)
    net = create(str(name), **arguments)
    if not isinstance(net, Backbone):
        raise UserError(f"model: '{name}' is no backbone that predicts velocities")
    net.load_weights(chosen.state)
    if type(net) is SiT:
        arguments["learn_sigma"] = net.learn_sigma  # read off the final layer, whatever was said
    return Loaded(net, str(name), arguments, chosen.note)


def _family(name: str) -> str:
    """The family of an official size; any other name as it is."""
    return SIZES[size_key(name)][0] if size_key(name) in SIZES else name


def chosen_weights(path: Path, ema: str | bool | None = None) -> Chosen:
    """The weights of a file that are meant, and in words which; see `drlbench.weights.copies.choose`."""
    return choose(read_checkpoint(path), ema, str(path), marks(), _official_average)


def _official_average(state: Mapping[str, Tensor]) -> str:
    family = family_of(state)
    return BACKBONES.get(family).official_average if family else ""


def load_autoencoder(name: str, offline: bool | None = None, progress: Progress | None = None) -> Autoencoder:
    """An autoencoder by card or from a local folder of an SD-VAE or RAE; "pixels" is the identity.

    Raises:
        UserError: an unknown name or a damaged file.
        MissingPrerequisite: a file is not here and cannot be fetched.
    """
    if name == "pixels":
        return PixelRange()
    folder = Path(name).expanduser()
    if folder.is_dir():
        if kind_of(folder) == RAE:
            return load_rae_folder(folder)
        if kind_of(folder) == SMALL_RAE:
            return load_small_rae(folder)
        vae = load_sd_vae(folder)
        if vae.scale != SD_SCALE:
            LOGGER.warning("%s: %s, as its config.json says", folder, vae.scaling)
        return vae
    card = autoencoder_card(name)
    paths = {role: resolve(asset, offline, progress) for role, asset in card.assets.items()}
    if card.kind == "sd-vae":
        return load_sd_vae(paths["weights"].parent)
    return load_rae(paths["encoder"], paths["decoder"], paths["statistics"], card.pixels)
