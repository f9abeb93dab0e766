"""Images and labels in NumPy's npz files, read without pickle, under the names that they are found under.

| names | as in |
|---|---|
| images, labels (also label, y, targets); arr_0, arr_1; samples, labels; x, y | ADM and others |
| train_images, train_labels, heldout_images, heldout_labels (also val_, test_) | `save_npz`, MedMNIST |
| x_train, y_train, x_test, y_test (also x_val, y_val) | Keras |

Shapes: n images, H and W height and width, C channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drlbench.data.account import Account
from drlbench.data.arrays import Archive, Header, open_npz
from drlbench.data.classes import Labels, check_count, match, ordered
from drlbench.data.dataset import Dataset, Images, split_dataset
from drlbench.errors import MissingPrerequisite, UserError, did_you_mean

IMAGES = ("images", "arr_0", "samples", "x", "data")
LABELS = ("labels", "arr_1", "label", "y", "targets", "target")
HELD_OUT = ("heldout", "val", "valid", "validation", "test")
FORMS = (("{}_images", "{}_labels"), ("x_{}", "y_{}"), ("{}_x", "{}_y"))


@dataclass(frozen=True)
class Pair:
    """The names of an array of images and, where there is one, of their labels."""

    images: str
    labels: str | None


def pairs_of(names: Sequence[str], where: str) -> tuple[Pair, Pair | None, list[str]]:
    """What an npz holds: the images (those to learn from), those to hold out, and images of further splits.

    Raises:
        UserError: nothing that goes by a name of images.
    """
    held = {name.lower(): name for name in names}
    splits: dict[str, Pair] = {}
    for split in ("train", *HELD_OUT):
        for images, labels in FORMS:
            if images.format(split) in held and split not in splits:
                splits[split] = Pair(held[images.format(split)], held.get(labels.format(split)))
    if "train" in splits:
        aside = [splits[split] for split in HELD_OUT if split in splits]
        return splits["train"], aside[0] if aside else None, [pair.images for pair in aside[1:]]
    key = next((held[name] for name in IMAGES if name in held), None)
    if key is None and len(names) == 1 and not did_you_mean(names[0], IMAGES):
        key = names[0]
    if key is None:
        near = next((hint for name in names if (hint := did_you_mean(name, IMAGES))), "")
        raise UserError(
            f"{where}: holds {', '.join(names) or 'nothing'}{near}; images are looked for under {', '.join(IMAGES)} "
            "(labels under labels, arr_1 or y), or train_images and heldout_images with their labels"
        )
    return Pair(key, next((held[name] for name in LABELS if name in held), None)), None, []


def image_shape(where: str, header: Header) -> tuple[int, int, int]:
    """(H, W, C) of an array of images, uint8 (n, H, W, 1 or 3) or grey (n, H, W); anything else is refused.

    Raises:
        UserError: says what is wrong and how to convert.
    """
    shape, dtype = header.shape, header.dtype
    if dtype.hasobject:
        raise UserError(f"{where}: an object array (images of different sizes?); store one uint8 array (n, H, W, C)")
    if dtype != np.uint8:
        raise UserError(f"{where}: dtype {dtype}; images must be uint8 0..255 (for floats in [0, 1]: round(255 x))")
    if len(shape) == 4 and shape[-1] == 4:
        raise UserError(f"{where}: shape {shape}: four channels; flatten alpha onto a background first")
    if len(shape) == 4 and shape[1] in (1, 3) and shape[-1] not in (1, 3):
        raise UserError(f"{where}: shape {shape} looks like (n, C, H, W); transpose to (n, H, W, C)")
    if len(shape) == 3 and shape[-1] not in (1, 3, 4):
        shape = (*shape, 1)
    if len(shape) != 4 or shape[-1] not in (1, 3):
        raise UserError(f"{where}: shape {shape}; images must be (n, H, W, 1 or 3)")
    if not all(shape):
        raise UserError(f"{where}: shape {shape}: holds no images")
    return shape[1], shape[2], shape[3]


def labels_of(archive: Archive, pair: Pair, count: int, account: Account) -> tuple[Labels | None, tuple[str, ...]]:
    """Labels (n,) int64 of a pair, None where it has none, and what they number (() for bare class indices).

    Raises:
        UserError: not one whole number or text per image, or numbers that are no class indices.
    """
    if pair.labels is None:
        return None, ()
    where, found = f"{archive.path}[{pair.labels}]", archive.read(pair.labels)
    if found.shape == (count, 1):
        found = found[:, 0]
    if found.shape != (count,) or found.dtype.kind not in "iubU":
        raise UserError(
            f"{where}: {found.dtype} of shape {found.shape}; one whole number or text per image is needed, ({count},)"
        )
    if found.dtype.kind == "U":
        names = ordered([str(label) for label in found])
        account.note(f"classes are named by {pair.labels}")
        order = {name: index for index, name in enumerate(names)}
        return np.array([order[str(label)] for label in found], dtype=np.int64), names
    check_count(where, int(found.max()))
    if int(found.min()) < 0:
        raise UserError(f"{where}: a label is {found.min()}; class indices start at 0")
    return found.astype(np.int64), _class_names(archive, int(found.max()))


def _class_names(archive: Archive, highest: int) -> tuple[str, ...]:
    if "class_names" not in archive.names:
        return ()
    where, names = f"{archive.path}[class_names]", archive.read("class_names")
    if names.dtype.kind != "U" or names.ndim != 1:
        raise UserError(f"{where}: {names.dtype} {names.shape}; text of shape (classes,) is needed")
    if highest >= len(names):
        raise UserError(f"{where}: labels go up to {highest}, but it names {len(names)} classes")
    return tuple(str(item) for item in names)


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


@dataclass(frozen=True)
class _Pool:
    """One set of images with its labels."""

    images: Images
    labels: Labels
    names: tuple[str, ...]
    indexed: bool


def load_npz(path: Path, settings: Mapping[str, Any] | None = None) -> Dataset:
    """Read a Dataset from an npz file; splits of its own are kept, one pool is split by content.

    Args:
        path: the file.
        settings: of the suite's `data` entry: held_out, held_out_path, class_names.

    Raises:
        MissingPrerequisite: no such file. IntegrityError: not an npz without pickle.
        UserError: names, shapes or dtypes that are none of those above, or classes that cannot be matched.
    """
    settings, account = settings or {}, Account(str(path))
    train, held_out = _pools(path, account)
    if "held_out_path" in settings:
        held_out = _pools(Path(settings["held_out_path"]).expanduser(), account)[0]
    if held_out is not None and "held_out" in settings:
        raise UserError(
            f"{path}: holds images to hold out, so `held_out` (a fraction of the others) is not taken as well"
        )
    given = settings.get("class_names")
    if given == "imagenet":
        from drlbench.encoders.clip import imagenet_names

        given = imagenet_names()
    own = train.names or (held_out.names if held_out is not None else ())
    highest = max(int(pool.labels.max()) for pool in (train, held_out) if pool is not None)
    names = tuple(map(str, given or own or range(highest + 1)))
    labels = _numbered(train, names, path, account)
    if held_out is None:
        return split_dataset(path.stem, train.images, labels, names, settings.get("held_out", 0.2), (account,))
    other = _numbered(held_out, names, path, account)
    return Dataset(path.stem, train.images, labels, held_out.images, other, names, accounts=(account,))


def _numbered(pool: _Pool, names: tuple[str, ...], path: Path, account: Account) -> Labels:
    if not pool.names or pool.names == names:
        return pool.labels
    place, how = match(pool.names, names, str(path), "class_names", pool.indexed)
    account.note(f"classes are matched with class_names by {how}")
    return place[pool.labels]


def _pools(path: Path, account: Account) -> tuple[_Pool, _Pool | None]:
    if not path.is_file():
        raise MissingPrerequisite(f"{path}: no such file")
    with open_npz(path) as archive:
        train, held_out, unused = pairs_of(archive.names, str(path))
        if unused:
            account.note(
                f"{train.images} is taken, {held_out.images if held_out else ''} held out, {unused} left aside"
            )
        return _pool(archive, train, account), None if held_out is None else _pool(archive, held_out, account)


def _pool(archive: Archive, pair: Pair, account: Account) -> _Pool:
    header = archive.header(pair.images)
    shape = image_shape(f"{archive.path}[{pair.images}]", header)
    labels, names = labels_of(archive, pair, header.shape[0], account)
    if labels is None:
        raise UserError(
            f"{archive.path}: {pair.images} has no labels beside it ({', '.join(archive.names)}), which a suite needs"
        )
    images: NDArray[Any] = archive.read(pair.images).reshape(header.shape[0], *shape)
    account.use(len(images))
    return _Pool(images, labels, names, archive.header(str(pair.labels)).dtype.kind != "U")
