"""Datasets in NumPy's npz files, read without pickle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drlbench.data.arrays import open_npz
from drlbench.data.classes import check_count
from drlbench.data.dataset import Dataset, split_dataset
from drlbench.errors import MissingPrerequisite, UserError, did_you_mean

SPLIT_KEYS = ("train_images", "train_labels", "heldout_images", "heldout_labels")
POOLS = (("images", "labels"), ("arr_0", "arr_1"), ("samples", "labels"), ("images", "label"), ("images", "y"))
POOL_KEYS = tuple(dict.fromkeys(key for pair in POOLS for key in pair))


def save_npz(dataset: Dataset, path: Path) -> None:
    """Write a Dataset so that `load_npz` gives it back, split and class names included."""
    np.savez_compressed(
        path,
        train_images=dataset.train_images,
        train_labels=dataset.train_labels,
        heldout_images=dataset.heldout_images,
        heldout_labels=dataset.heldout_labels,
        class_names=np.array(dataset.class_names),
    )


def load_npz(path: Path, heldout_fraction: float = 0.2, name: str | None = None) -> Dataset:
    """Read a Dataset from an npz file.

    Two layouts are known: `train_images, train_labels, heldout_images, heldout_labels`, used as they are split;
    or `images, labels` (also `arr_0, arr_1`), split here by content. `class_names` is optional in both.

    Raises:
        MissingPrerequisite: no such file.
        UserError: not an npz without pickle, keys missing, or arrays of another shape or dtype.
    """
    arrays = _read(path)
    name = name or path.stem
    if all(key in arrays for key in SPLIT_KEYS):
        train_labels, heldout_labels = _labels(path, arrays["train_labels"]), _labels(path, arrays["heldout_labels"])
        names = _class_names(path, arrays, max(_largest(train_labels), _largest(heldout_labels)) + 1)
        return Dataset(name, arrays["train_images"], train_labels, arrays["heldout_images"], heldout_labels, names)
    for image_key, label_key in POOLS:
        if image_key in arrays and label_key in arrays:
            labels = _labels(path, arrays[label_key])
            names = _class_names(path, arrays, _largest(labels) + 1)
            return split_dataset(name, arrays[image_key], labels, names, heldout_fraction)
    missing = [key for key in SPLIT_KEYS if key not in arrays]
    hint = next((h for key in arrays if (h := did_you_mean(key, [*SPLIT_KEYS, "images", "labels"]))), "")
    raise UserError(
        f"{path}: holds {', '.join(sorted(arrays))}{hint}; needed: images and labels, or {', '.join(SPLIT_KEYS)} "
        f"(missing of these: {', '.join(missing)})"
    )


def _read(path: Path) -> dict[str, NDArray[Any]]:
    if not path.is_file():
        raise MissingPrerequisite(f"{path}: no such file")
    with open_npz(path) as archive:
        known = [*SPLIT_KEYS, *POOL_KEYS, "class_names"]
        wanted = [name for name in archive.names if name in known]
        return {**dict.fromkeys(archive.names, np.zeros(0)), **{name: archive.read(name) for name in wanted}}


def _labels(path: Path, labels: NDArray[Any]) -> NDArray[np.int64]:
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if not np.issubdtype(labels.dtype, np.integer) or labels.ndim != 1:
        raise UserError(f"{path}: labels are {labels.dtype} {labels.shape}; whole numbers of shape (N,) are needed")
    check_count(str(path), int(labels.max(initial=0)))
    return labels.astype(np.int64)


def _largest(labels: NDArray[np.int64]) -> int:
    return int(labels.max()) if len(labels) else 0


def _class_names(path: Path, arrays: dict[str, NDArray[Any]], count: int) -> tuple[str, ...]:
    if "class_names" not in arrays:
        return tuple(str(index) for index in range(count))
    names = arrays["class_names"]
    if names.dtype.kind != "U" or names.ndim != 1:
        raise UserError(f"{path}: class_names are {names.dtype} {names.shape}; text of shape (classes,) is needed")
    return tuple(str(item) for item in names)
