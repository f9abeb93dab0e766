"""What can be named beside registered classes: sizes, checkpoints, autoencoders. For people."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from drlbench.backbones.cards import AUTOENCODERS, CARDS, Card
from drlbench.backbones.sizes import SIZES
from drlbench.weights.asset import Asset
from drlbench.weights.files import human_size


def sizes() -> Iterator[str]:
    """One line per family."""
    for family in dict.fromkeys(family for family, _ in SIZES.values()):
        yield f"{family}: {', '.join(name for name, (of, _) in SIZES.items() if of == family)}"


def checkpoints() -> Iterator[str]:
    """Per card what it is, and on lines of their own its file and its published numbers."""
    for card in CARDS.values():
        yield f"{card.name}: {card.size}, autoencoder {card.autoencoder}, {_format(card)}"
        yield f"    {_file(card.asset)}"
        for number in card.published:
            again = f" (a gate can measure it: {number.how.to_text()})" if number.how else ""
            yield f"    {number.metric} {number.value:g}: {number.protocol}; {number.source}{again}"


def autoencoders() -> Iterator[str]:
    """Per card its files."""
    yield "pixels: none, the network works on pixels"
    for card in AUTOENCODERS.values():
        yield f"{card.name}: {card.kind}, {card.pixels}-pixel images"
        for role, asset in card.assets.items():
            yield f"    {role}: {_file(asset)}"
    yield "a local folder: an SD-VAE as diffusers saves it, or RAE's encoder/, decoder/ and stat.pt"


def _format(card: Card) -> str:
    return f"{card.format}, of which {card.ema} is taken" if card.ema else card.format


def _file(asset: Asset) -> str:
    counted = ", counted from the parameters" if asset.size_is_estimate else ""
    checksum = f"sha256 {asset.sha256}" if asset.sha256 else "no checksum is known"
    licence = asset.licence or "not stated"
    by_hand = ", by hand" if asset.by_hand else ""
    return (
        f"{asset.filename} ({human_size(asset)}{counted}; {checksum}; licence: {licence}) from {asset.source}{by_hand}"
    )


LISTINGS: dict[str, Callable[[], Iterator[str]]] = {
    "sizes": sizes,
    "checkpoints": checkpoints,
    "autoencoders": autoencoders,
}
