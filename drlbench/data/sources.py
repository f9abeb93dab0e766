"""A suite's `data` entry to a `Dataset`, and the fingerprint that keys every result made from it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from drlbench.data.dataset import Dataset
from drlbench.errors import UserError, did_you_mean

# kind -> settings it takes; `path` is where the user keeps the files and is not part of any key.
KINDS: dict[str, tuple[str, ...]] = {
    "digits": (),
    "npz": ("path", "held_out"),
    "folder": ("path", "held_out_path", "held_out", "size", "grey"),
    "parquet": ("path", "held_out_path", "held_out", "size", "grey", "image_column", "label_column"),
}

TYPES: tuple[tuple[str, type | tuple[type, ...], str], ...] = (
    ("held_out_path", str, "a path"),
    ("held_out", (int, float), "a share between 0 and 1"),
    ("size", int, "a number of pixels"),
    ("grey", bool, "true or false"),
    ("image_column", str, "a column's name"),
    ("label_column", str, "a column's name"),
)

# Where the images lie; their fingerprint, not their place, is part of a key.
PLACES = ("path", "held_out_path")


def check_data(spec: Mapping[str, Any]) -> None:
    """Refuse settings that the kind does not take.

    Raises:
        UserError: names the setting and the valid ones.
    """
    valid = KINDS[spec["kind"]]
    for name in spec:
        if name not in ("kind", "fingerprint", *valid):
            listed = ", ".join(valid) or "none"
            raise UserError(
                f"data kind {spec['kind']!r} takes no setting {name!r}{did_you_mean(name, valid)}; valid: {listed}"
            )
    if "path" in valid and not isinstance(spec.get("path"), str):
        raise UserError(f"data kind {spec['kind']!r} needs `path`, where the images are")
    for name, kinds, needed in TYPES:
        value = spec.get(name)
        if value is not None and (not isinstance(value, kinds) or isinstance(value, bool) is not (kinds is bool)):
            raise UserError(f"data setting `{name}` is {value!r}; {needed} is needed")


def load_dataset(spec: Mapping[str, Any]) -> Dataset:
    """The images that a suite's `data` entry names.

    Raises:
        UserError: the files are not what the kind expects. MissingPrerequisite: they are not there.
    """
    check_data(spec)
    return _load(spec["kind"], tuple(sorted((k, v) for k, v in spec.items() if k not in ("kind", "fingerprint"))))


@lru_cache(maxsize=1)
def _load(kind: str, settings: tuple[tuple[str, Any], ...]) -> Dataset:
    if kind == "digits":
        from drlbench.data.digits import digits

        return digits()
    given = dict(settings)
    path = Path(given.pop("path")).expanduser()
    fraction = given.pop("held_out", 0.2)
    if kind == "npz":
        from drlbench.data.npz import load_npz

        return load_npz(path, fraction)
    held = given.pop("held_out_path", None)
    heldout_path = None if held is None else Path(held).expanduser()
    if kind == "folder":
        from drlbench.data.folder import load_folder

        return load_folder(path, heldout_path, fraction, **given)
    from drlbench.data.parquet import load_parquet

    return load_parquet(path, heldout_path, fraction, **given)


def fingerprint(spec: Mapping[str, Any]) -> str:
    """sha256 of pixels, labels, class names and split."""
    return load_dataset(spec).sha256
