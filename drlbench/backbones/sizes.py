"""The published sizes of every family, as constructor arguments of the networks, and how they are looked up.

`sit-xl-2`, `jit-h-16`, `repa-sit-xl-2` and `rae-ditdh-xl` are the 256-pixel models of the paper (JiT's patch 32 means
512 pixels); `-512` after any of the others gives the 512-pixel model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from drlbench.backbones.cards import CARDS
from drlbench.backbones.known import Known
from drlbench.errors import UserError, did_you_mean
from drlbench.registry import BACKBONES

SIZES: Mapping[str, tuple[str, dict[str, Any]]] = Known(
    "sizes", lambda name, sizes: {size: (name, dict(arguments)) for size, arguments in sizes.items()}
)


def size_key(name: str) -> str:
    """A size's name as `SIZES` writes it: SiT-XL/2 is sit-xl-2."""
    return name.lower().replace("/", "-").removesuffix("-256")


def resolve(name: str, known: list[str]) -> tuple[str, dict[str, Any]]:
    """The backbone and the constructor arguments behind a name; a bare backbone name has no arguments.

    Raises:
        UserError: the name is neither a size nor one of `known`.
    """
    key = size_key(name)
    if key in SIZES:
        return SIZES[key]
    if name in known:
        return name, {}
    valid = [*known, *SIZES]
    raise UserError(f"unknown backbone '{name}'{did_you_mean(key, valid)}; valid: {', '.join(valid)}")


def default_autoencoder(name: str) -> str:
    """The autoencoder an official size was trained on; small models of one's own are taken to work on pixels."""
    key = size_key(name)
    if key not in SIZES:
        return "pixels"
    family: str = BACKBONES.get(SIZES[key][0]).autoencoder
    return next((card.autoencoder for card in CARDS.values() if card.size == key), family)
