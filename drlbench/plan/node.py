"""One stage as a node of the graph: what an executor is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Node:
    """One stage of the graph, by keys only.

    Attributes:
        label: what the reader is told; not part of the key.
        inputs: name -> (kind, key) of other stages.
        after: (kind, key) of stages that must succeed first and are not read; no part of the key.
    """

    key: str
    kind: str
    version: int
    settings: Mapping[str, Any]
    inputs: Mapping[str, tuple[str, str]]
    label: str
    after: tuple[tuple[str, str], ...] = ()
