"""Datasets in image folders: one folder per class, its name the class name, as torchvision's ImageFolder reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from drlbench.data.dataset import Dataset, Images, Labels, split_dataset
from drlbench.data.pictures import stack
from drlbench.errors import MissingPrerequisite, UserError

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".ppm", ".pgm", ".tif", ".tiff"}


def load_folder(
    path: Path,
    heldout_path: Path | None = None,
    heldout_fraction: float = 0.2,
    size: int | None = None,
    grey: bool = False,
) -> Dataset:
    """Read a Dataset from class folders, classes and files in name order.

    Args:
        heldout_path: class folders of the held-out split; without it, `path` is split by content.
        size: crop every picture to this size (see `pictures.centre_crop`).

    Raises:
        MissingPrerequisite: no such folder.
        UserError: no class folders or pictures in it, or a held-out class that the train split does not have.
    """
    names = class_folders(path)
    images, labels = _read(path, names, size, grey)
    if heldout_path is None:
        return split_dataset(path.name, images, labels, names, heldout_fraction)
    unknown = [name for name in class_folders(heldout_path) if name not in names]
    if unknown:
        raise UserError(f"{heldout_path / unknown[0]}: {path} has no class of that name")
    return Dataset(path.name, images, labels, *_read(heldout_path, names, size, grey), tuple(names))


def class_folders(path: Path) -> list[str]:
    """Names of the class folders, sorted.

    Raises:
        MissingPrerequisite, UserError: see `load_folder`.
    """
    if not path.is_dir():
        raise MissingPrerequisite(f"{path}: no such folder; images are read from one folder per class inside it")
    names = sorted(p.name for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not names:
        raise UserError(f"{path}: has no folders inside; images are read from one folder per class")
    return names


def _read(path: Path, names: list[str], size: int | None, grey: bool) -> tuple[Images, Labels]:
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        found = sorted(p for p in (path / name).rglob("*") if p.suffix.lower() in SUFFIXES)
        files += found
        labels += [label] * len(found)
    images = stack(((str(file), file.read_bytes()) for file in files), len(files), size, grey, str(path))
    return images, np.array(labels, dtype=np.int64)
