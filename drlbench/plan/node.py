"""One stage as a node of the graph: what an executor is given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

Ref = tuple[str, str]
"""(kind, key) of a stage."""


class Node(NamedTuple):
    """One stage of the graph, by keys only; a tuple, since a plan may hold hundreds of thousands.

    Attributes:
        settings: shared with other stages that have the same; never changed.
        inputs: name -> stage it reads.
        label: what the reader is told; not part of the key.
        after: stages that must succeed first and are not read; no part of the key.
    """

    key: str
    kind: str
    version: int
    settings: Mapping[str, Any]
    inputs: Mapping[str, Ref]
    label: str
    after: tuple[Ref, ...] = ()
