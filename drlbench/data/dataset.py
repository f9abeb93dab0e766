"""The real images a run learns from and is measured against.

Shapes: N images, H height, W width, C channels (1 grey, 3 colour).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drlbench.data.account import Account
from drlbench.data.lazy import LazyImages
from drlbench.errors import UserError

Images = NDArray[np.uint8]  # (N, H, W, C)
Labels = NDArray[np.int64]  # (N,)


@dataclass(frozen=True)
class Dataset:
    """A train split, everything may learn from it, and a held-out split that only measures.

    Attributes:
        name: how reports call the data.
        train_images, heldout_images: (N, H, W, C) uint8 in [0, 255].
        train_labels, heldout_labels: (N,) int64 in [0, number of classes).
        class_names: one per class; their order is the class index.
        fingerprint: stands for the content, where the images are not to be read for it.
        accounts: what became of the files that it was read from; empty for arrays and embedded data.

    Images may be `drlbench.data.lazy.LazyImages` instead of arrays.
    """

    name: str
    train_images: Images
    train_labels: Labels
    heldout_images: Images
    heldout_labels: Labels
    class_names: tuple[str, ...]
    fingerprint: str = ""
    accounts: tuple[Account, ...] = ()

    def __post_init__(self) -> None:
        for split, images, labels in (
            ("train", self.train_images, self.train_labels),
            ("held-out", self.heldout_images, self.heldout_labels),
        ):
            check_images(f"{self.name}, {split} split", images)
            check_labels(f"{self.name}, {split} split", labels, len(images), len(self.class_names))
        if self.train_images.shape[1:] != self.heldout_images.shape[1:]:
            raise UserError(
                f"{self.name}: train images are {self.train_images.shape[1:]} and held-out images "
                f"{self.heldout_images.shape[1:]} (height, width, channels); both splits need one size"
            )

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W), the order networks use."""
        height, width, channels = self.train_images.shape[1:]
        return channels, height, width

    @cached_property
    def sha256(self) -> str:
        """Hex sha256 of everything a result depends on: pixels, labels, class names and the split.

        Where there is a `fingerprint`, that instead.
        """
        if self.fingerprint:
            return self.fingerprint
        digest = hashlib.sha256()
        for array in (self.train_images, self.train_labels, self.heldout_images, self.heldout_labels):
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        digest.update("\0".join(self.class_names).encode())
        return digest.hexdigest()


def check_images(where: str, images: NDArray[Any]) -> None:
    """Raise UserError unless images is a non-empty uint8 array (N, H, W, 1 or 3)."""
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3) or len(images) == 0:
        raise UserError(
            f"{where}: images are {images.dtype} {images.shape}; "
            "a non-empty uint8 array (N, height, width, channels) with 1 or 3 channels is needed"
        )


def check_labels(where: str, labels: NDArray[Any], count: int, num_classes: int) -> None:
    """Raise UserError unless labels is int64 (count,) in [0, num_classes)."""
    if labels.dtype != np.int64 or labels.shape != (count,):
        raise UserError(f"{where}: labels are {labels.dtype} {labels.shape}; int64 ({count},) is needed")
    if labels.min() < 0 or labels.max() >= num_classes:
        raise UserError(
            f"{where}: labels run from {labels.min()} to {labels.max()}, but {num_classes} class names "
            f"allow 0 to {num_classes - 1}"
        )


def split_by_content(images: Images | LazyImages, labels: Labels, heldout_fraction: float) -> tuple[Labels, Labels]:
    """Stratified split that depends on the images alone: train and held-out indices, each ascending.

    Lazy images are told apart by their names instead, since reading all of them would take hours.

    Within a class the images are ordered by the sha256 of their pixels and the first part is held out. So the
    split needs no seed, survives a shuffled file or another library version, and puts copies of an image in one
    class on one side.

    Raises:
        UserError: the fraction is outside (0, 1), or a class has too few images to stand on both sides.
    """
    if not 0 < heldout_fraction < 1:
        raise UserError(f"held-out fraction {heldout_fraction} is not between 0 and 1 (0.2 keeps a fifth aside)")
    if isinstance(images, LazyImages):
        keys = images.keys()
    else:
        keys = [hashlib.sha256(np.ascontiguousarray(image).tobytes()).digest() for image in images]
    heldout: list[int] = []
    for label in np.unique(labels):
        members = sorted(np.flatnonzero(labels == label).tolist(), key=lambda i: (keys[i], i))
        count = round(len(members) * heldout_fraction)
        while 0 < count < len(members) and keys[members[count]] == keys[members[count - 1]]:
            count += 1
        if not 0 < count < len(members):
            raise UserError(
                f"class {label} has {len(members)} images, too few to hold a fraction of {heldout_fraction} out; give "
                "held-out images of their own (`held_out_path`) or a larger `held_out`"
            )
        heldout += members[:count]
    chosen = np.zeros(len(labels), dtype=bool)
    chosen[heldout] = True
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def split_dataset(
    name: str,
    images: Images,
    labels: Labels,
    class_names: Sequence[str],
    heldout_fraction: float,
    accounts: tuple[Account, ...] = (),
) -> Dataset:
    """A Dataset from one pool of images, split by `split_by_content`."""
    check_images(name, images)
    check_labels(name, labels, len(images), len(class_names))
    train, heldout = split_by_content(images, labels, heldout_fraction)
    return Dataset(
        name, images[train], labels[train], images[heldout], labels[heldout], tuple(class_names), accounts=accounts
    )
