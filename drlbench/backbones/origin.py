"""What weights from outside are, apart from where they lie: for the key of a result, and to notice a changed file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from drlbench.backbones.cards import CARDS, autoencoder_card
from drlbench.backbones.exported import CONFIG, autoencoder_of, read_exported
from drlbench.backbones.folders import folder_files
from drlbench.backbones.sizes import default_autoencoder
from drlbench.errors import IntegrityError
from drlbench.weights.files import file_hash, resolve
from drlbench.weights.parts import parts_of


def autoencoder_for(checkpoint: str | None, backbone: str, given: str | None) -> str:
    """The autoencoder of a backbone from a checkpoint: as the suite says, else its card's, else its size's."""
    card = CARDS.get(checkpoint or "")
    exported = None if card or not checkpoint else read_exported(checkpoint)
    if exported is not None and not given:
        return autoencoder_of(str(checkpoint), exported)
    return given or (card.autoencoder if card else default_autoencoder(backbone))


def identity(checkpoint: str, autoencoder: str) -> dict[str, Any]:
    """What the weights are, for the key of the base stage; costs one pass over local files and touches no network.

    A card stands for its file (its checksum, where known, is part of it, and is compared when the file is read); a
    local file or folder stands for its content. A local path that is not there gives {"missing": path}.
    """
    return {"checkpoint": _checkpoint(checkpoint), "autoencoder": _autoencoder(autoencoder)}


def _checkpoint(name: str) -> dict[str, str]:
    if name in CARDS:
        asset = CARDS[name].asset
        return {"card": name, "revision": asset.revision, "sha256": asset.sha256}
    path = Path(name).expanduser()
    if not path.exists():
        return {"missing": name}
    described = {"config": file_hash(path / CONFIG)} if read_exported(path) is not None else {}
    return {"sha256": parts_of(path).sha256(), **described}


def _autoencoder(name: str) -> str | dict[str, Any]:
    if name == "pixels":
        return name
    folder = Path(name).expanduser()
    if folder.is_dir():
        return {"files": hashes(folder_files(folder))}
    if "/" in name:
        return {"missing": name}
    return {"card": autoencoder_card(name).name}


def autoencoder_files(name: str, offline: bool | None = None) -> dict[str, Path]:
    """Every file of an autoencoder by role, fetched when need be; none for pixels. Errors as for `resolve`."""
    if name == "pixels":
        return {}
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder_files(folder)
    return {role: resolve(asset, offline) for role, asset in autoencoder_card(name).assets.items()}


def hashes(files: Mapping[str, Path]) -> dict[str, str]:
    """Hex sha256 by role."""
    return {role: file_hash(path) for role, path in files.items()}


def unchanged(path: Path, sha256: str) -> Path:
    """The path itself, when its content is still what a result was made from.

    Raises:
        IntegrityError: it is another file.
    """
    found = parts_of(path).sha256()
    if found != sha256:
        raise IntegrityError(
            f"{path}: sha256 {found[:12]} is not the {sha256[:12]} that this run's base was made from; put that file "
            "back, or run the suite again to make everything from the new one"
        )
    return path
