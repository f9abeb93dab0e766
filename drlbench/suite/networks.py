"""A suite's networks, built without weights: what does not fit together, or to the images, is told before any work."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from drlbench.backbones import create
from drlbench.backbones.base import Backbone
from drlbench.backbones.cards import AUTOENCODERS, CARDS
from drlbench.backbones.meta import without_weights
from drlbench.backbones.origin import autoencoder_for
from drlbench.backbones.pretrain import PretrainSettings
from drlbench.backbones.rae.small import LatentSettings
from drlbench.backbones.repa.network import REPA
from drlbench.backbones.sizes import resolve
from drlbench.encoders.small import SmallEncoder
from drlbench.errors import UserError, shown
from drlbench.registry import BACKBONES, ENCODERS
from drlbench.settings import Settings, read_settings
from drlbench.suite.document import Location, Problem
from drlbench.suite.images import Images
from drlbench.suite.kinds import record_faults, record_of
from drlbench.suite.parts import BackboneSpec, EncoderSpec

MAX_SIZE, MAX_DEPTH = 65_536, 512  # of a network; the largest published ones are 4,096 wide and 64 deep
MAX_PARAMETERS = 100_000_000_000
SD_PIXELS = 8  # pixels of a side that one latent value of an SD-VAE stands for

Shape = tuple[int, int, int]


def name_of(spec: BackboneSpec) -> str:
    """What `create` knows the network as."""
    card = CARDS.get(spec.checkpoint or "")
    return spec.size or (card.size if card else spec.family)


def hidden_width(spec: BackboneSpec) -> int:
    """Width of a network's hidden layers; of RAE's two stacks the trunk's.

    Raises:
        UserError: its weights alone tell, or it has no such width.
    """
    family, own = resolve(name_of(spec), BACKBONES.names())
    parameters = inspect.signature(BACKBONES.get(family)).parameters
    full = {n: p.default for n, p in parameters.items()} | own | spec.architecture
    if (spec.checkpoint and not own and "hidden_size" not in spec.architecture) or "hidden_size" not in full:
        raise UserError("the width of this network is not known; give its `size`, or its hidden_size")
    width = full["hidden_size"]
    first = width[0] if isinstance(width, list) and width else width
    if not isinstance(first, int):
        raise UserError(f"hidden_size {shown(width)} is no width")
    return first


def fitted_to_images(spec: BackboneSpec, images: Images, encoders: Mapping[str, EncoderSpec]) -> BackboneSpec:
    """The same backbone with the classes, channels and size that it leaves out, where a model is trained here.

    What is the constructor's own default already is not written out.
    """
    latent = _latent_shape(spec, images, encoders)
    if spec.pretrain is None or spec.size is not None or latent is None or images.num_classes is None:
        return spec
    constructor = BACKBONES.get(spec.family)
    taken = inspect.signature(constructor).parameters
    wanted = constructor.arguments_for(latent, images.num_classes)
    missing = {n: v for n, v in wanted.items() if n not in spec.architecture and n in taken and taken[n].default != v}
    return spec.model_copy(update={"architecture": {**spec.architecture, **missing}}) if missing else spec


def _latent_shape(spec: BackboneSpec, images: Images, encoders: Mapping[str, EncoderSpec]) -> Shape | None:
    """(C, H, W) that the network has to take, as far as it is known."""
    if images.shape is None:
        return None
    if spec.latent is not None:
        tokens = _tokens(spec.latent.encoder, images, encoders)
        channels = read_settings(LatentSettings, spec.latent.settings).channels
        side = round(tokens[0] ** 0.5) if tokens else 0
        return (channels, side, side) if tokens else None
    if spec.checkpoint is None:
        return images.shape
    name = autoencoder_for(spec.checkpoint, spec.size or spec.family, spec.autoencoder)
    return images.shape if name == "pixels" else None


def _tokens(name: str, images: Images, encoders: Mapping[str, EncoderSpec]) -> tuple[int, int] | None:
    """Number and width (T, Z) of an encoder's spatial features, where it is one that is fitted here."""
    found = ENCODERS.get(encoders[name].kind)
    small = images.shape is not None and images.shape[1] * images.shape[2] <= 128 * 128
    if not (inspect.isclass(found) and issubclass(found, SmallEncoder) and found.spatial and small):
        return None
    assert images.shape is not None
    encoder = found(read_settings(found.Record, encoders[name].settings), images.shape, images.num_classes or 1)
    with torch.no_grad():
        _, count, width = encoder.tokens(torch.zeros(1, *images.shape)).shape
    return count, width


def build(
    name: str, spec: BackboneSpec, images: Images, encoders: Mapping[str, EncoderSpec]
) -> tuple[nn.Module | None, list[Problem]]:
    """The network on the meta device, and everything that is wrong with it.

    It is None where nothing but its weights tells what it is.
    """
    at: Location = ("backbones", name)
    problems = list(_names(spec, at))
    for key, encoder in (("align", spec.align), ("latent", spec.latent.encoder if spec.latent else None)):
        if encoder is not None and not ENCODERS.get(encoders[encoder].kind).spatial:
            told = f"encoder {encoder!r} has no spatial features (`tokens`); small-dae has"
            problems.append(Problem((*at, key), told))
    if problems:
        return None, problems
    if spec.checkpoint is not None and spec.checkpoint not in CARDS and spec.size is None:
        return None, []
    problems += [Problem((*at, "architecture", *key), text) for key, text in _arguments(spec)]
    if problems:
        return None, problems
    try:
        with without_weights():
            net = create(name_of(spec), **spec.architecture)
    except UserError as error:
        return None, [Problem((*at, "architecture"), str(error))]
    except (ArithmeticError, AssertionError, AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
        cause = f"{type(error).__name__}: {shown(error)}"
        return None, [Problem((*at, "architecture"), f"no network can be built of this ({cause})")]
    return net, list(_misfits(spec, net, images, encoders, at))


def _names(spec: BackboneSpec, at: Location) -> Iterator[Problem]:
    if spec.size is not None:
        try:
            family, _ = resolve(spec.size, [])
        except UserError as error:
            yield Problem((*at, "size"), str(error))
            return
        if family != spec.family:
            yield Problem((*at, "size"), f"{spec.size!r} is a size of the family {family!r}, not of {spec.family!r}")
    card = CARDS.get(spec.checkpoint or "")
    if card is not None and spec.size is None and (family := resolve(card.size, [])[0]) != spec.family:
        yield Problem((*at, "family"), f"checkpoint {spec.checkpoint!r} is of the family {family!r}")


def _arguments(spec: BackboneSpec) -> Iterator[tuple[tuple[str, ...], str]]:
    """Architecture arguments of another name, type or size than the constructor can take."""
    record: type[Settings] = record_of(BACKBONES, spec.family)
    given = {**resolve(name_of(spec), BACKBONES.names())[1], **spec.architecture}
    for name, text in record_faults(record, given):
        told = text.replace("unknown setting", f"backbone {spec.family!r} has no architecture argument")
        yield ((name,) if name in spec.architecture else ()), told
    for name, value in spec.architecture.items():
        numbers = [x for x in (value if isinstance(value, list) else [value]) if isinstance(x, int | float)]
        limit = MAX_DEPTH if "depth" in name else MAX_SIZE
        if any(abs(x) > limit for x in numbers):
            yield (name,), f"{value} is beyond {limit:,}, which no network here can be"


def _misfits(
    spec: BackboneSpec, net: Any, images: Images, encoders: Mapping[str, EncoderSpec], at: Location
) -> Iterator[Problem]:
    """What the network and the images, or the encoder it is trained with, do not agree on."""
    counts = [p.numel() for p in net.parameters()]
    if not all(counts) or not counts:
        yield Problem((*at, "architecture"), "the network has a layer without weights (a size is 0)")
        return
    if sum(counts) > MAX_PARAMETERS:
        yield Problem((*at, "architecture"), f"the network has {sum(counts):,} weights; at most {MAX_PARAMETERS:,}")
    if not isinstance(net, Backbone):
        return
    if images.num_classes is not None and net.num_classes != images.num_classes:
        told = f"the network has {net.num_classes} classes, the data {images.num_classes}"
        yield Problem(_argument(spec, "num_classes", at), told)
    wanted = _latent_shape(spec, images, encoders)
    if wanted is not None and tuple(net.latent_shape) != wanted:
        names = net.arguments_for(wanted, net.num_classes)
        wrong = next((n for n, v in names.items() if n in spec.architecture and spec.architecture[n] != v), "")
        what = "its latents are" if spec.latent else "the images are"
        told = f"the network takes {_by(net.latent_shape)} (channels x height x width), {what} {_by(wanted)}"
        yield Problem(_argument(spec, wrong, at), told)
    yield from _sides(spec, net, images, at)
    if spec.align is None:
        return
    if not isinstance(net, REPA):
        yield Problem((*at, "align"), "`align` is for the repa family; this model projects no tokens")
    elif (tokens := _tokens(spec.align, images, encoders)) is not None:
        given = spec.architecture.get("z_dims", [768])
        if list(given) != [tokens[1]]:
            told = f"z_dims are {list(given)}, the tokens of encoder {spec.align!r} are {tokens[1]} wide"
            yield Problem(_argument(spec, "z_dims", at), told)


def _sides(spec: BackboneSpec, net: Backbone, images: Images, at: Location) -> Iterator[Problem]:
    """The pixels that an official autoencoder makes of the network's latents, against the images'."""
    if spec.checkpoint is None or images.shape is None:
        return
    card = AUTOENCODERS.get(autoencoder_for(spec.checkpoint, name_of(spec), spec.autoencoder))
    if card is None:
        return
    side = net.latent_shape[1] * SD_PIXELS if card.kind == "sd-vae" else card.pixels
    if images.shape != (3, side, side):
        told = f"the model makes images of 3x{side}x{side}, the data are {_by(images.shape)}"
        yield Problem(at, f"{told}; set `data.size: {side}`, or take another checkpoint")


def _argument(spec: BackboneSpec, name: str, at: Location) -> Location:
    return (*at, "architecture", name) if name in spec.architecture else at


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def pretraining_faults(spec: BackboneSpec) -> Iterator[tuple[tuple[str, ...], str]]:
    """Mistakes in the settings of a model that is trained here, each under `pretrain` or `latent`."""
    for key, record, given in (
        ("pretrain", PretrainSettings, spec.pretrain),
        ("latent", LatentSettings, spec.latent.settings if spec.latent else None),
    ):
        for name, text in record_faults(record, given) if given is not None else ():
            yield ((key, name) if name in (given or {}) else (key,)), text
