"""The order of a graph of stages, how long it takes on so many workers, and how long at least on any number of them."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from drlbench.plan.node import Node


@dataclass(frozen=True)
class Schedule:
    """Seconds.

    Attributes:
        wall: on the workers there are, by list scheduling: whoever is free takes the stage with the longest way to go.
        longest: the longest chain of stages that wait for one another, which no number of workers shortens.
        work: all stages one after another.
    """

    wall: float
    longest: float
    work: float


def schedule(nodes: Sequence[Node], seconds: Mapping[str, float], workers: int) -> Schedule:
    """Schedule the stages that have seconds; the others are done.

    Args:
        nodes: inputs before users.
    """
    left = [n for n in nodes if n.key in seconds]
    waits = {n.key: {k for _, k in (*n.inputs.values(), *n.after) if k in seconds} for n in left}
    users: dict[str, list[str]] = {n.key: [] for n in left}
    for key, upstream in waits.items():
        for other in upstream:
            users[other].append(key)
    ahead = _ahead(left, seconds)
    missing = {key: len(upstream) for key, upstream in waits.items()}
    ready = [(-ahead[key], key) for key, count in missing.items() if not count]
    heapq.heapify(ready)
    running: list[tuple[float, str]] = []
    now = 0.0
    while ready or running:
        while ready and len(running) < workers:
            _, key = heapq.heappop(ready)
            heapq.heappush(running, (now + seconds[key], key))
        now, done = heapq.heappop(running)
        for user in users[done]:
            missing[user] -= 1
            if not missing[user]:
                heapq.heappush(ready, (-ahead[user], user))
    return Schedule(now, max(ahead.values(), default=0.0), sum(seconds[n.key] for n in left))


def longest_first(nodes: Sequence[Node], seconds: Mapping[str, float]) -> list[Node]:
    """The order of `schedule`: the stage with the longest way to go first; among equals, as they come.

    Args:
        nodes: inputs before users, and so are those returned.
        seconds: of what is to be made; a stage without seconds is done, or nobody can count it.
    """
    ahead = _ahead(nodes, seconds)
    return sorted(nodes, key=lambda node: -ahead[node.key])


def _ahead(nodes: Sequence[Node], seconds: Mapping[str, float]) -> dict[str, float]:
    """Key -> seconds of the longest chain that begins with a stage, itself included."""
    ahead = {node.key: 0.0 for node in nodes}
    for node in reversed(nodes):
        ahead[node.key] += seconds.get(node.key, 0.0)
        for _, key in (*node.inputs.values(), *node.after):
            if key in ahead:
                ahead[key] = max(ahead[key], ahead[node.key])
    return ahead
