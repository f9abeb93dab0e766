"""Every network that a suite names, built without weights on the meta device and counted once.

What cannot be built from what the suite says (weights that alone tell the architecture, a plug-in that insists on its
file) is `NotCounted`, with the reason.

Shapes: B batch, C channels, H and W height and width, T tokens of Z features.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, wraps
from typing import Any, ParamSpec, TypeVar, cast

import torch
from torch import Tensor, nn

from drlbench.backbones import create, wrap
from drlbench.backbones.autoencoders import sd_vae_without_weights
from drlbench.backbones.base import Autoencoder, Backbone, PixelRange, VelocityModel
from drlbench.backbones.cards import AUTOENCODERS, CARDS
from drlbench.backbones.rae.autoencoder import RAEAutoencoder
from drlbench.backbones.rae.small import LatentSettings, SmallRAE
from drlbench.backbones.sizes import SIZES, size_key
from drlbench.backbones.widened import widen
from drlbench.cost.counting import Count, Operations, counted
from drlbench.cost.network import META, Passes
from drlbench.encoders.base import Encoder
from drlbench.encoders.small import SmallEncoder
from drlbench.registry import ENCODERS, REWARDS
from drlbench.rewards.base import Reward
from drlbench.rewards.bradley_terry import BradleyTerry, BradleyTerrySettings
from drlbench.rewards.discriminator import Discriminator
from drlbench.weights.skeleton import skeletons

P = ParamSpec("P")
T = TypeVar("T")
Shape = tuple[int, int, int]
"""(C, H, W) of an image."""


def named(key: tuple[Any, ...], wide: tuple[int, int] | None = None) -> str:
    """A network's name and, where it is of no published size, its architecture: what its measurements go by."""
    given = json.loads(key[1])
    plain = f"{key[0]} {text(given)}" if given else str(key[0])
    return f"{plain} beside {wide[0]} x {wide[1]}" if wide else plain


def family(name: str) -> str:
    """Of a size."""
    return SIZES[size_key(name)][0] if size_key(name) in SIZES else name


def published(checkpoint: str) -> str:
    """The size behind a checkpoint.

    Raises:
        NotCounted: only its weights tell.
    """
    if checkpoint in CARDS:
        return CARDS[checkpoint].size
    if size_key(checkpoint) in SIZES:
        return checkpoint
    raise NotCounted(f"checkpoint {checkpoint}: say its `size`, only its weights tell it")


def is_fitted(kind: str) -> bool:
    """Whether an encoder is a small one that is trained here."""
    return bool(getattr(ENCODERS.get(kind), "fitted", False))


class NotCounted(Exception):
    """Why something has no count."""


def remembered(count: Callable[P, T]) -> Callable[P, T]:
    """Count once; what cannot be counted is not tried again."""

    @cache
    def kept(*args: Any) -> T | NotCounted:
        try:
            return count(*args)  # type: ignore[call-arg] # those that `call` was given
        except NotCounted as error:
            return error

    @wraps(count)
    def call(*args: P.args, **_: P.kwargs) -> T:
        found = kept(*args)
        if isinstance(found, NotCounted):
            raise found
        return found

    return call


@contextmanager
def without_weights(what: str) -> Iterator[None]:
    """Inside, networks are built on the meta device; what goes wrong there is no count, and no end of a plan."""
    try:
        with skeletons(), torch.device("meta"), Operations():
            yield
    except NotCounted:
        raise
    except Exception as error:  # a third party's constructor may do anything
        told = str(error).partition("\n")[0]
        raise NotCounted(f"{what} cannot be built without its weights ({type(error).__name__}: {told})") from error


def text(settings: Mapping[str, Any]) -> str:
    """Settings as a key of what is remembered here."""
    return json.dumps(settings, sort_keys=True, default=str)


def class_labels(count: int) -> Tensor:
    return torch.zeros(count, dtype=torch.int64, device=META)


@remembered
def model(
    name: str, architecture: str, autoencoder: str, image: Shape | None = None, encoder: str = ""
) -> VelocityModel:
    """A backbone with its autoencoder.

    Args:
        architecture: JSON of constructor arguments.
        autoencoder: "pixels", a card's name, or JSON of the settings of one that is fitted here; then `image` is the
            shape of the images and `encoder` JSON of its encoder's kind and settings.
    """
    with without_weights(f"backbone {name}"):
        net = cast(Backbone, create(name, **json.loads(architecture)))
        return wrap(net, _autoencoder(autoencoder, image, encoder)).eval()


def _autoencoder(name: str, image: Shape | None, encoder: str) -> Autoencoder:
    if name == "pixels":
        return PixelRange()
    if name.startswith("{"):
        assert image is not None
        found = cast(Any, encoder_of(encoder, image))
        tokens = found.tokens(torch.empty(1, *image, device=META)).shape
        return SmallRAE(found, LatentSettings(**json.loads(name)), image, (tokens[1], tokens[2]))
    if name not in AUTOENCODERS:
        raise NotCounted(f"autoencoder {name}: only its files tell how large it is")
    card = AUTOENCODERS[name]
    return (
        sd_vae_without_weights() if card.kind == "sd-vae" else RAEAutoencoder(encoder_input_size=card.pixels // 16 * 14)
    )


@remembered
def classes_of(key: tuple[Any, ...]) -> int:
    """That a backbone knows."""
    return model(*key).num_classes


@remembered
def network_passes(
    key: tuple[Any, ...], rank: int | None = None, recompute: bool = False, wide: tuple[int, int] | None = None
) -> Passes:
    """Passes of a backbone's velocity; `key` are the arguments of `model`, `wide` width and depth of one beside it."""
    # What is added would stay in it.
    found = model(*key) if rank is None and wide is None else copy.deepcopy(model(*key))
    if wide is not None:
        with without_weights(f"policy beside {key[0]}"):
            widen(found.net, key[0], json.loads(key[1]), *wide)
    t, y = torch.empty(1, device=META), class_labels(1)
    return Passes(found, lambda x: found.velocity(x, t, y), found.latent_shape, rank, recompute)


@remembered
def decoder_passes(key: tuple[Any, ...]) -> Passes:
    """Passes of a latent (C, H, W) through the autoencoder's decoder."""
    found = model(*key)
    inner = found.autoencoder
    return Passes(inner if isinstance(inner, nn.Module) else nn.Module(), found.decode, found.latent_shape)


@remembered
def encoding(key: tuple[Any, ...], image: Shape) -> Count:
    """One image to its latent."""
    found = model(*key)
    with torch.no_grad():
        return counted(lambda: found.encode(torch.empty(1, *image, device=META)))


def encoder_key(kind: str, settings: Mapping[str, Any]) -> str:
    """What names an encoder here."""
    return json.dumps([kind, text(settings)])


@remembered
def encoder_of(key: str, image: Shape) -> Encoder:
    """An encoder for images of that shape."""
    name, settings = json.loads(key)
    given, kind = json.loads(settings), ENCODERS.get(name)
    with without_weights(f"encoder {name}"):
        if issubclass(kind, SmallEncoder):
            return kind(kind.Record(**given), image, 10).freeze()
        return cast(Encoder, kind(**given)).to(META).freeze()


@remembered
def encoder_passes(key: str, image: Shape) -> Passes:
    """Passes of an image."""
    encoder = encoder_of(key, image)
    with without_weights(f"encoder {json.loads(key)[0]}"):
        return Passes(encoder, encoder, image)


@remembered
def token_shape(key: str, image: Shape) -> tuple[int, int]:
    """(T, Z) of an encoder with spatial features."""
    shape = encoder_of(key, image).tokens(torch.empty(1, *image, device=META)).shape
    return int(shape[1]), int(shape[2])


@remembered
def reward_passes(kind: str, settings: str, encoders: tuple[str, ...], image: Shape, classes: int) -> Passes:
    """Passes of an image through a reward and the encoders it looks through."""
    found = reward_of(kind, settings, encoders, image, classes)
    with without_weights(f"reward {kind}"):
        return Passes(found, lambda x: found(x, class_labels(len(x))), image)


def reward_of(kind: str, settings: str, encoders: Sequence[str], image: Shape, classes: int) -> Reward:
    """A reward for images of that shape."""
    found, given = REWARDS.get(kind), json.loads(settings)
    with without_weights(f"reward {kind}"):
        if found is Discriminator:
            through = [encoder_of(key, image) for key in encoders]
            return Discriminator(through, found.Record(**given), classes).to(META)
        if found is BradleyTerry:
            return BradleyTerry(kind, BradleyTerrySettings(**given), image, classes)
        name = {"name": kind} if found.named_by_suite else {}
        return cast(Reward, found(**name, **given)).to(META)
