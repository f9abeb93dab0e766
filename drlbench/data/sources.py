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
}

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
            raise UserError(f"data kind {spec['kind']!r} takes no setting {name!r}{did_you_mean(name, valid)}; valid: {listed}")
    if "path" in valid and not isinstance(spec.get("path"), str):
        raise UserError(f"data kind {spec['kind']!r} needs `path`, where the images are")


def load_dataset(spec: Mapping[str, Any]) -> Dataset:
    """The images that a suite's `data` entry names.

    Raises:
        UserError: the files are not what the kind expects. MissingPrerequisite: they are not there.
    """
    check_data(spec)
    return _load(spec["kind"], spec.get("path"), spec.get("held_out", 0.2))


@lru_cache(maxsize=1)
def _load(kind: str, path: str | None, held_out: float) -> Dataset:
    if kind == "digits":
        from drlbench.data.digits import digits

        return digits()
    from drlbench.data.npz import load_npz

    return load_npz(Path(str(path)), held_out)


def fingerprint(spec: Mapping[str, Any]) -> str:
    """sha256 of pixels, labels, class names and split."""
    return load_dataset(spec).sha256
