"""Equal time: the updates with which a cell's training costs what another cell's does.

Cost is counted, not timed, so that a suite has the same stages on every machine: operations, started kernels and random
numbers of the rewards and fine-tunes that a cell's own rounds need, as the processor core that `drlbench plan` assumes
takes them. What a run starts from and what watches it are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from drlbench.cost.networks import NotCounted
from drlbench.cost.stage import Graph, Stage
from drlbench.cost.work import ASSUMED
from drlbench.plan.graph import Plan
from drlbench.plan.node import Node
from drlbench.stages import cost_function
from drlbench.suite.keys import MAX_UPDATES

CORE = ASSUMED["cpu"]


def seconds(graph: Plan, stages: Iterable[Node]) -> float:
    """What these stages take one after another, reading and starting them left out.

    Raises:
        NotCounted: one of them does not say what it does.
    """
    given = graph.spec.data.counts
    seen = graph.once("counted", lambda: Graph(graph.nodes, (given[0], given[1]) if given else None))
    total = 0.0
    for node in stages:
        declared = cost_function(node.kind, node.settings)
        if declared is None:
            raise NotCounted(f"stages of kind {node.kind} do not declare their cost")
        unwatched = node._replace(settings={n: v for n, v in node.settings.items() if n != "watch"})
        total += CORE.seconds(declared(Stage(unwatched, seen)), {}) - CORE.start
    return total


def most_updates(graph: Plan, within: float, settings: Mapping[str, Any], inputs: Mapping[str, Node]) -> int:
    """The most updates of a fine-tune of these settings that take no longer than `within`; 0 where one is too long.

    Raises:
        NotCounted: as `seconds`.
    """
    links = {name: (node.kind, node.key) for name, node in inputs.items()}

    def fits(updates: int) -> bool:
        node = Node("", "finetune", 0, {**settings, "updates": updates}, links, "")
        return seconds(graph, [node]) <= within

    return _last(fits)


def _last(holds: Callable[[int], bool]) -> int:
    """The largest number for which it holds, which it does for all smaller ones; at most `MAX_UPDATES`."""
    good, bad = 0, 1
    while bad < MAX_UPDATES and holds(bad):
        good, bad = bad, 2 * bad
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if holds(middle) else (good, middle)
    return good
