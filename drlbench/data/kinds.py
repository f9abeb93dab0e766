"""The kinds of data a suite can name, and the settings each takes. No imports, so that checking a suite is light."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Check = tuple[Callable[[Any], bool], str]

# Where the images lie; their fingerprint, not their place, is part of a key.
PLACES = ("path", "held_out_path")

_PATH: Check = (lambda v: isinstance(v, str) and v != "", "a path")
_FRACTION: Check = (lambda v: isinstance(v, float) and 0 < v < 1, "a fraction between 0 and 1")
_COLUMN: Check = (lambda v: isinstance(v, str), "a column's name")
_ENCODED: dict[str, Check] = {
    "path": _PATH,
    "held_out_path": _PATH,
    "held_out": _FRACTION,
    "size": (lambda v: isinstance(v, int) and not isinstance(v, bool) and 0 < v <= 4096, "a number of pixels"),
    "grey": (lambda v: isinstance(v, bool), "true or false"),
    "class_names": (
        lambda v: v == "imagenet" or (isinstance(v, list) and all(isinstance(x, str) for x in v) and len(v) > 0),
        "'imagenet' or a list of names in the order of the class index",
    ),
}
TOY_SHAPES = ("islands", "spiral")
KINDS: Mapping[str, Mapping[str, Check]] = {
    "digits": {},
    "npz": {key: _ENCODED[key] for key in ("path", "held_out_path", "held_out", "class_names")},
    "folder": _ENCODED,
    "parquet": {**_ENCODED, "image_column": _COLUMN, "label_column": _COLUMN},
    "tar": _ENCODED,
    "toy": {
        "shape": (lambda v: v in TOY_SHAPES, f"one of {', '.join(TOY_SHAPES)}"),
        "points": (lambda v: isinstance(v, int) and not isinstance(v, bool) and v >= 10, "a number of at least 10"),
    },
}
