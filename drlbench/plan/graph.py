"""The graph of a suite: stages by key, and what belongs to which cell. `drlbench.plan.pipeline` fills it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from drlbench.data.kinds import PLACES
from drlbench.plan.node import Node, Ref
from drlbench.stages import version_of
from drlbench.store.keys import canonical
from drlbench.suite.cells import Cell
from drlbench.suite.load import Suite
from drlbench.suite.schema import SuiteSpec

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Measured:
    """The stages that measure one cell under one guidance.

    Attributes:
        samples: key of the samples stage.
        scores: space ("" for image statistics) -> key; preference: reward -> key; others: entry of `stages` -> key.
    """

    samples: Node
    scores: dict[str, Node]
    preference: dict[str, Node]
    others: dict[str, Node] = field(default_factory=dict)

    def numbers(self) -> Iterator[tuple[Node, str]]:
        """Every stage that has numbers, with its space ("" where it has none)."""
        for space, node in self.scores.items():
            yield node, space
        for node in (*self.preference.values(), *self.others.values()):
            yield node, ""


@dataclass(frozen=True, slots=True)
class CellPlan:
    """All stages of one cell, in order.

    Attributes:
        training: (round, stage) of every reward and finetune stage made for this cell, for the training curves.
        kl: the stage that estimates the KL from the base, or None for the base itself.
        trajectory: the stage that records norms along the memoryless SDE, where the suite asks and there is one.
        tilt: the stage that measures the exact optimum of its first round, where the suite asks and it has a reward.
        kl_start: the stage that estimates the KL from another run's model that it starts from, where there is a tilt.
        terms: what each reward term of its first round says of its unguided samples, where there is a tilt.
    """

    cell: Cell
    model: Node
    training: tuple[tuple[int, Node], ...]
    measured: dict[str, Measured]
    kl: Node | None
    trajectory: Node | None = None
    tilt: Node | None = None
    kl_start: Node | None = None
    terms: Mapping[str, Node] = field(default_factory=dict)


class Plan:
    """The graph of a suite: every stage once, inputs before users, and what belongs to which cell.

    Attributes:
        images: the data entry with its fingerprint, part of the settings of every stage that reads images.
        data: the stages that measure the held-out images.
        encoders, rewards: by name, the stages that every cell shares.
    """

    def __init__(self, suite: Suite) -> None:
        self.suite = suite
        self.spec: SuiteSpec = suite.spec
        self.nodes: dict[str, Node] = {}
        self.cells: list[CellPlan] = []
        self.data: Measured | None = None
        self.encoders: dict[str, Node] = {}
        self.rewards: dict[str, Node] = {}
        self._made: dict[Hashable, Any] = {}
        self._refs: dict[str, Ref] = {}
        # Settings that many stages share, and their part of a key: written out once. The value keeps the id taken.
        self._shared: dict[int, tuple[Mapping[str, Any], str]] = {}
        self.images: Mapping[str, Any] = suite.images.keyed
        places_out = {name: value for name, value in self.images.items() if name not in PLACES}
        self._shared[id(self.images)] = self.images, canonical(places_out)

    def once(self, what: Hashable, make: Callable[[], T]) -> T:
        """What `make` gives, made at the first call for `what`."""
        if what not in self._made:
            self._made[what] = make()
        found: T = self._made[what]
        return found

    def shared(self, what: Hashable, make: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
        """Settings of many stages, or a part of them: made, and written out for their keys, once."""
        if what not in self._made:
            settings = self._made[what] = make()
            self._shared[id(settings)] = settings, self._text(settings)
        found: Mapping[str, Any] = self._made[what]
        return found

    def add(
        self, kind: str, label: str, settings: Mapping[str, Any], after: Node | None = None, **inputs: Node
    ) -> Node:
        """Enter a stage; the same settings and inputs give the same node whoever asks. It waits for `after`."""
        keys = ",".join([f'"{name}":"{given.key}"' for name, given in sorted(inputs.items())])
        found = self._shared.get(id(settings))
        text = found[1] if found is not None else self._text(settings)
        # As `drlbench.store.keys.stage_key` writes it.
        version = version_of(kind)
        content = f'{{"inputs":{{{keys}}},"settings":{text},"stage":"{kind}","version":{version}}}'
        key = hashlib.sha256(content.encode()).hexdigest()
        node = self.nodes.get(key)
        if node is None:
            links = {name: self._refs[given.key] for name, given in inputs.items()}
            waits = (self._refs[after.key],) if after else ()
            node = self.nodes[key] = Node(key, kind, version, settings, links, label, waits)
            self._refs[key] = (kind, key)
        return node

    def _text(self, settings: Mapping[str, Any]) -> str:
        """Settings, whose names are plain words, as the key sees them: without where weights and images lie."""
        parts = []
        for name in sorted(settings):
            if name != "where":
                value = settings[name]
                known = self._shared.get(id(value))
                parts.append(f'"{name}":{known[1] if known is not None else canonical(value)}')
        return "{" + ",".join(parts) + "}"
