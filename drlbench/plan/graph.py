"""The graph of a suite: stages by key, and what belongs to which cell. `drlbench.plan.pipeline` fills it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from drlbench.data.kinds import PLACES
from drlbench.plan.node import Node
from drlbench.stages import VERSIONS
from drlbench.store.keys import stage_key
from drlbench.suite.cells import Cell
from drlbench.suite.schema import SuiteSpec


@dataclass(frozen=True)
class Measured:
    """The stages that measure one cell under one guidance.

    Attributes:
        samples: key of the samples stage.
        scores: space ("" for image statistics) -> key; preference: reward -> key.
    """

    samples: Node
    scores: dict[str, Node]
    preference: dict[str, Node]


@dataclass(frozen=True)
class CellPlan:
    """All stages of one cell, in order.

    Attributes:
        training: (round, stage) of every reward and finetune stage made for this cell, for the training curves.
        kl: the stage that estimates the KL from the base, or None for the base itself.
        trajectory: the stage that records norms along the memoryless SDE, where the suite asks and there is one.
    """

    cell: Cell
    model: Node
    training: tuple[tuple[int, Node], ...]
    measured: dict[str, Measured]
    kl: Node | None
    trajectory: Node | None = None


@dataclass
class Plan:
    """The graph of a suite: every stage once, inputs before users, and what belongs to which cell."""

    spec: SuiteSpec
    nodes: dict[str, Node] = field(default_factory=dict)
    cells: list[CellPlan] = field(default_factory=list)
    data: Measured | None = None
    encoders: dict[str, Node] = field(default_factory=dict)
    rewards: dict[str, Node] = field(default_factory=dict)
    identities: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(
        self, kind: str, label: str, settings: Mapping[str, Any], after: Node | None = None, **inputs: Node
    ) -> Node:
        """Enter a stage; the same settings and inputs give the same node whoever asks. It waits for `after`."""
        keys = {name: node.key for name, node in inputs.items()}
        key = stage_key(kind, VERSIONS[kind], without_places(settings), keys)
        if key not in self.nodes:
            links = {name: (node.kind, node.key) for name, node in inputs.items()}
            waits = ((after.kind, after.key),) if after else ()
            self.nodes[key] = Node(key, kind, VERSIONS[kind], dict(settings), links, label, waits)
        return self.nodes[key]


def without_places(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as the key sees them: where weights and images lie is no part of what they are."""
    kept = {name: value for name, value in settings.items() if name != "where"}
    if "data" in kept:
        kept["data"] = {name: value for name, value in kept["data"].items() if name not in PLACES}
    return kept
