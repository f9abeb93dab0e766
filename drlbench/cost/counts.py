"""The work of every stage of a graph: one walk, in which stages that are alike are counted once."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from drlbench.cost.networks import NotCounted
from drlbench.cost.stage import Graph, Stage
from drlbench.cost.work import Work
from drlbench.plan.node import Node
from drlbench.stages import cost_function

# What changes a result and not the work: a seed, where things lie, what they are called, the weight of a reward.
IDLE = frozenset({"seed", "lambda", "where", "files", "name", "backbone_name"})


class Counts:
    """Work of stages.

    Args:
        nodes: the graph by key, inputs included.
        images: train and held-out images, where the suite says them.
    """

    def __init__(self, nodes: Mapping[str, Node], images: tuple[int, int] | None = None) -> None:
        self.nodes, self.graph = nodes, Graph(nodes, images)
        self._groups: dict[str, int] = {}
        self._numbers: dict[Hashable, int] = {}
        self._frozen: dict[int, tuple[Any, Hashable]] = {}
        self._found: dict[int, Work | str] = {}

    def group(self, node: Node) -> int:
        """A number that stages which do the same work share."""
        found = self._groups.get(node.key)
        if found is None:
            known = [(name, self._input(key)) for name, (_, key) in node.inputs.items()]
            settings = tuple(
                (n, self._freeze(tuple(v) if n == "terms" else v)) for n, v in node.settings.items() if n not in IDLE
            )
            sort = (node.kind, settings, tuple(sorted(known)))
            found = self._groups[node.key] = self._numbers.setdefault(sort, len(self._numbers))
        return found

    def _input(self, key: str) -> int:
        node, policy = self.nodes.get(key), None
        while node is not None and node.kind == "finetune":  # but for a second network, it stays as large
            policy = policy or node.settings.get("policy")
            node = self.nodes.get(node.inputs["start"][1])
        if policy is not None and node is not None:
            return self._numbers.setdefault((self.group(node), self._freeze(policy)), len(self._numbers))
        if node is not None and node.kind == "samples":  # their users see how many there are
            return self._numbers.setdefault(("samples", node.settings.get("n")), len(self._numbers))
        return -1 if node is None else self.group(node)

    def _freeze(self, value: Any) -> Hashable:
        """Settings as something that can be looked up; those that stages share are gone through once."""
        if not isinstance(value, dict | list | tuple):
            return value if isinstance(value, Hashable) else repr(value)
        kept = self._frozen.get(id(value))
        if kept is None:
            parts = value.items() if isinstance(value, dict) else value
            frozen = tuple(self._freeze(part) for part in parts)
            kept = self._frozen[id(value)] = value, frozen  # held, so that no other object gets its id
        return kept[1]

    def of(self, node: Node) -> Work | str:
        """Work of a stage, or why it is not counted."""
        group = self.group(node)
        if group not in self._found:
            try:
                declared = cost_function(node.kind, node.settings)
                if declared is None:
                    raise NotCounted(f"stages of kind {node.kind} do not declare their cost")
                self._found[group] = declared(Stage(node, self.graph))
            except NotCounted as error:
                self._found[group] = f"{node.label}: {error}"
        return self._found[group]
