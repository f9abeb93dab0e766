"""From splits of encoded images to a `Dataset`, in memory where it is small and lazy where it is not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from drlbench.data.dataset import Dataset, split_by_content
from drlbench.data.lazy import LazyImages
from drlbench.data.splits import Split, class_indices
from drlbench.errors import UserError

HELD_OUT = 0.2


def dataset_of(
    spec: Mapping[str, Any], train: Split, held_out: Split | None, fingerprint: str, eager_bytes: int
) -> Dataset:
    """A Dataset from what a reader found.

    Without a held-out split of its own, a fraction of each class is held out: by the images' pixels when they are held
    in memory, by their names when they are not.

    Raises:
        UserError: class names that do not fit the labels, or images of different sizes without `size`.
    """
    names = _class_names(spec, train, held_out)
    name = str(spec.get("name") or train.where)
    images: Any = LazyImages(train.source, spec.get("size"), spec.get("grey", False), train.where)
    labels = class_indices(train, train.class_names, len(names))
    small = images.nbytes <= eager_bytes
    if held_out is not None:
        other: Any = LazyImages(held_out.source, spec.get("size"), spec.get("grey", False), held_out.where)
        if small and other.nbytes <= eager_bytes:
            images, other = np.asarray(images), np.asarray(other)
        return Dataset(
            name, images, labels, other, class_indices(held_out, train.class_names, len(names)), names, fingerprint
        )
    if small:
        images = np.asarray(images)
    kept, aside = split_by_content(images, labels, spec.get("held_out", HELD_OUT))
    if small:
        return Dataset(name, images[kept], labels[kept], images[aside], labels[aside], names, fingerprint)
    parts: list[Any] = [
        LazyImages(Subset(train, rows), images.crop, images.grey, train.where) for rows in (kept, aside)
    ]
    return Dataset(name, parts[0], labels[kept], parts[1], labels[aside], names, fingerprint)


class Subset:
    """Some images of a split."""

    def __init__(self, split: Split, rows: Any) -> None:
        self.inner, self.rows = split.source, rows
        self.names = [split.source.names[row] for row in rows]

    def read(self, indices: Any) -> list[bytes]:
        """See `drlbench.data.lazy.Source`."""
        return self.inner.read([int(self.rows[index]) for index in indices])


def _class_names(spec: Mapping[str, Any], train: Split, held_out: Split | None) -> tuple[str, ...]:
    """The suite's names, in the order of the files' own classes; else those."""
    given = spec.get("class_names")
    if given is None or isinstance(given, str):
        own = max((s.class_names for s in (train, held_out) if s is not None), key=len)
        if given is None:
            return own
        from drlbench.encoders.clip import imagenet_names

        given = imagenet_names()
    if train.class_names and isinstance(train.labels[0], str) and len(train.class_names) != len(given):
        raise UserError(f"{train.where}: {len(train.class_names)} class folders and {len(given)} class_names")
    return tuple(given)
