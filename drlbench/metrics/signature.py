"""A number's signature, in the spirit of sacreBLEU (Post 2018): all that has to agree before two numbers compare.

fd|enc:inception-v3-2015-12-05:6726825d…/tf1/2048|ref:jit_in256_stats:9f3c21aa|n:50000|v:drlbench-0.1.0
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from drlbench import __version__
from drlbench.errors import UserError

_RESERVED = re.compile(r"[|\n]")


def make_signature(metric: str, parts: Mapping[str, str | int | float]) -> str:
    """`metric|key:value|…|v:drlbench-<version>`; empty values are left out, the order is kept.

    Raises:
        UserError: a name holds the separator.
    """
    fields = [metric, *(f"{key}:{value}" for key, value in parts.items() if value != "")]
    for field in fields:
        if _RESERVED.search(field):
            raise UserError(f"signature: '{field}' holds a separator; rename it")
    return "|".join([*fields, f"v:drlbench-{__version__}"])


def read_signature(text: str) -> dict[str, str]:
    """The parts of a signature by key, the metric under `metric`."""
    metric, *fields = text.split("|")
    return {"metric": metric, **dict(field.split(":", 1) for field in fields if ":" in field)}


def why_not_comparable(first: str, second: str) -> list[str]:
    """What two signatures disagree on, in words; an empty list means the numbers may be compared."""
    a, b = read_signature(first), read_signature(second)
    words = {"enc": "extractor", "ref": "reference", "n": "number of samples", "v": "version"}
    return [
        f"{words.get(key, key)}: {a.get(key, 'not stated')} against {b.get(key, 'not stated')}"
        for key in dict.fromkeys([*a, *b])
        if a.get(key) != b.get(key)
    ]
