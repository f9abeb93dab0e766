"""A card per official checkpoint: where it lies, what it holds, and which number its authors published for it.

The cards themselves lie in each family's `published`. A size marked as an estimate is the number of float32 values
times four; a checksum is empty where the authors publish none and nobody has recorded one yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from drlbench.backbones.known import Known
from drlbench.backbones.protocols import Protocol
from drlbench.errors import UserError, did_you_mean
from drlbench.weights.asset import Asset

FLOAT32 = 4


@dataclass(frozen=True)
class Published:
    """A number from the authors, and how they measured it: in words, and where known as steps to repeat."""

    metric: str
    value: float
    protocol: str
    source: str
    how: Protocol | None = None


@dataclass(frozen=True)
class Card:
    """An official network.

    Attributes:
        size: the name `drlbench.backbones.create` knows it by.
        asset: the checkpoint.
        autoencoder: "pixels" or a name in `AUTOENCODERS`.
        format: "raw state dict", or "training checkpoint" with an entry per copy of the weights.
        ema: the entry the official evaluation takes; empty for a raw state dict.
        published: the authors' numbers.
    """

    name: str
    size: str
    asset: Asset
    autoencoder: str
    format: str
    ema: str = ""
    published: tuple[Published, ...] = ()


@dataclass(frozen=True)
class AutoencoderCard:
    """An official autoencoder: its kind ("sd-vae" or "rae") and its files by role."""

    name: str
    kind: str
    assets: dict[str, Asset] = field(default_factory=dict)
    pixels: int = 256


CARDS: Mapping[str, Card] = Known("cards", lambda _, cards: {card.name: card for card in cards})
AUTOENCODERS: Mapping[str, AutoencoderCard] = Known(
    "autoencoder_cards", lambda _, cards: {card.name: card for card in cards}
)


def autoencoder_card(name: str) -> AutoencoderCard:
    """The card of that name.

    Raises:
        UserError: unknown name.
    """
    if name not in AUTOENCODERS:
        valid = ["pixels", *AUTOENCODERS]
        raise UserError(f"unknown autoencoder '{name}'{did_you_mean(name, valid)}; valid: {', '.join(valid)}")
    return AUTOENCODERS[name]


def published_fid(checkpoint: str) -> tuple[Card, Published, Protocol]:
    """The first FID of a card that can be measured again, and how.

    Raises:
        UserError: no such card, or one without such a number.
    """
    if checkpoint not in CARDS:
        raise UserError(f"'{checkpoint}' is no card{did_you_mean(checkpoint, CARDS)}; cards: {', '.join(CARDS)}")
    for number in CARDS[checkpoint].published:
        if number.metric == "fid" and number.how is not None:
            return CARDS[checkpoint], number, number.how
    able = [name for name, card in CARDS.items() if any(p.how for p in card.published)]
    raise UserError(f"the card {checkpoint} holds no FID that can be measured again; those that do: {', '.join(able)}")
