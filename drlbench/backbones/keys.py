"""One name that only this network's weights have, for each published network."""

from __future__ import annotations

from collections.abc import Mapping

from drlbench.backbones.known import Known
from drlbench.backbones.rae.published import DECODER_FINGERPRINT
from drlbench.registry import BACKBONES

# Whoever is first is it. Newest of ours first: the later ones are transformers that have SiT's names and their own.
FINGERPRINTS: Mapping[str, str] = Known(
    "fingerprint",
    lambda name, mark: {name: mark} if mark else {},
    ours=tuple(reversed(BACKBONES.builtin)),
    beside={"rae-autoencoder decoder": DECODER_FINGERPRINT},
)


def marks() -> tuple[str, ...]:
    """Every such name."""
    return tuple(FINGERPRINTS.values())
