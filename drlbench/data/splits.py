"""What every reader of encoded images gives: a source, its labels, and what a fingerprint is made from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drlbench.data.lazy import Source
from drlbench.errors import UserError, did_you_mean


@dataclass(frozen=True)
class Split:
    """One set of images.

    Attributes:
        labels: (N,) class names, or class indices.
        sizes: bytes of each image where listing tells them, else of each file that holds them.
        class_names: the classes in the order of their index, as far as the files tell; empty when they do not.
        where: what messages call it.
        seal: what else the files tell about their content without being read (a parquet footer).
    """

    source: Source
    labels: Sequence[str] | Sequence[int]
    sizes: Sequence[int]
    class_names: tuple[str, ...]
    where: str
    seal: str = ""

    def fingerprint(self) -> bytes:
        """Digest of names, sizes, labels and seal, not of the pixels: that an image was changed in place into another
        of the same size goes unnoticed. Modification times are left out, so a copy has the same fingerprint."""
        digest = hashlib.sha256(self.seal.encode())
        for items in (self.source.names, self.sizes, self.labels, self.class_names):
            digest.update("\0".join(map(str, items)).encode() + b"\1")
        return digest.digest()


def class_indices(split: Split, folders: Sequence[str], count: int) -> NDArray[np.int64]:
    """Labels (N,) int64 of a split.

    Args:
        folders: class folders of the train split in the order of their index, where labels are names.
        count: number of classes.

    Raises:
        UserError: a class that is none of them.
    """
    if len(split.labels) and not isinstance(split.labels[0], str):
        labels = np.asarray(split.labels, dtype=np.int64)
        if len(labels) and (labels.min() < 0 or labels.max() >= count):
            raise UserError(
                f"{split.where}: labels run from {labels.min()} to {labels.max()}, but there are {count} classes (a "
                "split without labels cannot be used)"
            )
        return labels
    order = {name: index for index, name in enumerate(folders)}
    unknown = next((str(name) for name in split.labels if name not in order), None)
    if unknown is not None:
        raise UserError(
            f"{split.where}: class {unknown!r} is not among the train classes{did_you_mean(unknown, order)}"
        )
    return np.array([order[str(name)] for name in split.labels], dtype=np.int64)
