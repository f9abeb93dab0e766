"""From splits of encoded images to a `Dataset`, in memory where it is small and lazy where it is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from drlbench.data.classes import Labels, listed, match
from drlbench.data.dataset import Dataset, split_by_content
from drlbench.data.lazy import LazyImages
from drlbench.data.splits import Split, Subset
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
    names, labels, heldout_labels = numbering(spec, train, held_out)
    accounts = tuple({id(split.account): split.account for split in (train, held_out) if split is not None}.values())
    name = str(spec.get("name") or train.where)
    images: Any = _images(spec, train)
    small = images.nbytes <= eager_bytes
    if held_out is not None:
        assert heldout_labels is not None
        other: Any = _images(spec, held_out)
        if small and other.nbytes <= eager_bytes:
            images, other = np.asarray(images), np.asarray(other)
        return Dataset(name, images, labels, other, heldout_labels, names, fingerprint, accounts)
    if small:
        images = np.asarray(images)
    kept, aside = split_by_content(images, labels, spec.get("held_out", HELD_OUT))
    if small:
        return Dataset(name, images[kept], labels[kept], images[aside], labels[aside], names, fingerprint, accounts)
    parts: list[Any] = [
        LazyImages(Subset(train.source, rows), images.crop, images.grey, train.where, train.account)
        for rows in (kept.tolist(), aside.tolist())
    ]
    return Dataset(name, parts[0], labels[kept], parts[1], labels[aside], names, fingerprint, accounts)


def numbering(
    spec: Mapping[str, Any], train: Split, held_out: Split | None
) -> tuple[tuple[str, ...], Labels, Labels | None]:
    """Class names in label order, and the labels of both splits in that numbering.

    The suite's `class_names` where it gives them, matched by name (`drlbench.data.classes.match`); else the files' own.

    Raises:
        UserError: images without labels, or classes that cannot be matched.
    """
    given = spec.get("class_names")
    if given == "imagenet":
        from drlbench.encoders.clip import imagenet_names

        given = imagenet_names()
    own = train.class_names or (held_out.class_names if held_out is not None and train.indexed else ())
    if given is None and not own:
        highest = max(int(_stored(s).max()) for s in (train, held_out) if s is not None)
        own = tuple(str(k) for k in range(highest + 1))
    names = own if given is None else tuple(map(str, given))
    what = "the data" if given is None else "class_names"
    labels = _in_order(train, names, what, told=given is not None)
    return names, labels, None if held_out is None else _in_order(held_out, names, what, told=False)


def _stored(split: Split) -> Labels:
    if split.labels is None:
        why = f" ({split.account.notes[-1]})" if split.account.notes else ""
        raise UserError(
            f"{split.where}: its images have no labels{why}; a class is a folder, a label column, or a file beside each"
        )
    return split.labels


def _in_order(split: Split, names: Sequence[str], what: str, told: bool) -> Labels:
    """Labels (N,) of a split, numbered as `names`."""
    labels = _stored(split)
    if split.class_names:
        place, how = match(split.class_names, names, split.where, what, split.indexed)
        if told:
            lacking = len(names) - len(set(place.tolist()))
            aside = f"; {lacking} of {len(names)} classes have no images" if lacking else ""
            split.account.note(f"classes are matched with class_names by {how}{aside}")
        return place[labels]
    if len(labels) and (labels.min() < 0 or labels.max() >= len(names)):
        raise UserError(
            f"{split.where}: labels run from {labels.min()} to {labels.max()}, but {what} name {len(names)} classes: "
            f"{listed(names)}"
        )
    return labels


def _images(spec: Mapping[str, Any], split: Split) -> LazyImages:
    return LazyImages(split.source, spec.get("size"), spec.get("grey", False), split.where, split.account)
