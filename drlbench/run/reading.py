"""Results of a store, read for the run's folder: every file is compared with its checksum before anybody sees it."""

from __future__ import annotations

import io
from typing import Any, TypeVar

import numpy as np
from pydantic import Field

from drlbench.errors import IntegrityError
from drlbench.plan.node import Node
from drlbench.store import atomic, records
from drlbench.store.layout import Store

T = TypeVar("T")


class Score(records.Record):
    """One line of a stage's rows.json; a tilt's has a lambda and a space of its own."""

    metric: str
    value: float
    low: float | None
    high: float | None
    n: int
    better: str
    lambda_: float | None = Field(default=None, alias="lambda")
    space: str = ""
    notes: list[str] = Field(default_factory=list)
    details: dict[str, float] = Field(default_factory=dict)


class Curve(records.Record):
    """A stage's curve.json: named series over steps, and where a held-out measure turned."""

    step: list[int | float]
    series: dict[str, list[int | float | None]]
    summary: dict[str, int | float | None]
    stop: dict[str, Any] | None = None


class Reader:
    """Reads stages of a store.

    Attributes:
        damaged: key -> what is wrong, of every stage that did not match its checksums.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.damaged: dict[str, str] = {}

    def has(self, node: Node) -> bool:
        """Whether the stage was made; its files may still turn out damaged."""
        return node.key not in self.damaged and self.store.has(node.kind, node.key)

    def content(self, node: Node, name: str) -> bytes:
        """One file of a finished stage.

        Raises:
            IntegrityError: it is not the one that was written; noted in `damaged`.
        """
        with self._noting(node):
            return atomic.read_file(self.store.bring(node.kind, node.key), node.key, name)

    def record(self, node: Node, name: str, kind: type[T]) -> T:
        """One JSON file of a finished stage, by its shape; raises as `content` does."""
        content = self.content(node, name)
        with self._noting(node):
            return records.parse(content, kind, self.store.folder(node.kind, node.key) / name)

    def arrays(self, node: Node, name: str) -> dict[str, np.ndarray]:
        """The arrays of an npz of a finished stage; raises as `content` does."""
        with np.load(io.BytesIO(self.content(node, name)), allow_pickle=False) as kept:
            return {entry: kept[entry] for entry in kept.files}

    def described(self, node: Node) -> dict[str, Any]:
        """What a stage says of itself, or an empty mapping when it was not made or is damaged (which is noted)."""
        try:
            return self.record(node, "description.json", dict[str, Any]) if self.has(node) else {}
        except IntegrityError:
            return {}

    def marker(self, node: Node) -> atomic.Marker:
        """The marker of a finished stage; raises as `content` does."""
        with self._noting(node):
            return atomic.read_marker(self.store.bring(node.kind, node.key))

    def _noting(self, node: Node) -> _Noting:
        return _Noting(self.damaged, node.key)


class _Noting:
    """Notes damage on its way out."""

    def __init__(self, damaged: dict[str, str], key: str) -> None:
        self.damaged, self.key = damaged, key

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if isinstance(error, IntegrityError):
            self.damaged.setdefault(self.key, str(error))
