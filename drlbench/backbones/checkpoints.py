"""Which files a model needs: a card's name or a local path to the file behind it."""

from __future__ import annotations

from pathlib import Path

from drlbench.backbones.cards import CARDS, autoencoder_card
from drlbench.errors import MissingPrerequisite, UserError, did_you_mean
from drlbench.weights.asset import Asset


def find(checkpoint: str) -> Asset | Path:
    """The card's file or the local path that `checkpoint` names.

    Raises:
        MissingPrerequisite: it looks like a path and nothing lies there.
        UserError: it is neither a card nor a path.
    """
    if checkpoint in CARDS:
        return CARDS[checkpoint].asset
    path = Path(checkpoint).expanduser()
    if path.exists():
        return path
    if "/" in checkpoint or path.suffix:
        raise MissingPrerequisite(
            f"checkpoint {path}: no such file; give an existing path or one of {', '.join(CARDS)}"
        )
    raise UserError(
        f"unknown checkpoint '{checkpoint}'{did_you_mean(checkpoint, CARDS)}; give a path or one of {', '.join(CARDS)}"
    )


def assets_of(checkpoint: str | None, autoencoder: str = "pixels") -> list[Asset]:
    """Every file of the outside world that a model needs; local paths need none."""
    needed = []
    if checkpoint is not None:
        found = find(checkpoint)
        needed += [found] if isinstance(found, Asset) else []
    if autoencoder != "pixels" and not Path(autoencoder).expanduser().is_dir():
        needed += list(autoencoder_card(autoencoder).assets.values())
    return needed
