"""Wall time on some workers, against schedules that can be seen by eye."""

from __future__ import annotations

import pytest

from drlbench.cost.schedule import longest_first, schedule
from drlbench.plan.node import Node


def node(key: str, *inputs: str, after: str = "") -> Node:
    waits = (("k", after),) if after else ()
    return Node(key, "k", 1, {}, {i: ("k", i) for i in inputs}, key, waits)


def test_a_chain_is_no_faster_on_many_workers() -> None:
    nodes = [node("a"), node("b", "a"), node("c", after="b")]
    found = schedule(nodes, {"a": 1, "b": 2, "c": 3}, 4)
    assert (found.wall, found.longest, found.work) == (6, 6, 6)


def test_the_longest_way_goes_first() -> None:
    """Short ones first would leave the long one to the end: 1 + 1 + 4 = 5 on two workers in place of 4."""
    nodes = [node("x"), node("y"), node("z"), node("w"), node("long")]
    found = schedule(nodes, {"x": 1, "y": 1, "z": 1, "w": 1, "long": 4}, 2)
    assert (found.wall, found.longest, found.work) == (4, 4, 8)


@pytest.mark.parametrize(("workers", "wall"), [(1, 9), (2, 7), (3, 5)])
def test_a_diamond(workers: int, wall: float) -> None:
    nodes = [node("a"), node("b", "a"), node("c", "a"), node("d", "a"), node("e", "b", "c", "d")]
    assert schedule(nodes, {"a": 1, "b": 2, "c": 2, "d": 2, "e": 2}, workers).wall == wall


def test_finished_stages_take_no_time() -> None:
    nodes = [node("a"), node("b", "a")]
    assert schedule(nodes, {"b": 2.0}, 1).wall == 2.0 and schedule(nodes, {}, 1).wall == 0.0


def test_a_run_takes_the_stages_in_that_order() -> None:
    """Encoders are listed before the base that the long chain begins with; a finished stage goes with what it feeds."""
    tune, features = node("tune", "base", "done"), node("features", "encoder", "tune")
    nodes = [node("encoder"), node("done"), node("base"), tune, features]
    found = longest_first(nodes, {"encoder": 2, "base": 3, "tune": 5, "features": 1})
    assert [n.key for n in found] == ["base", "done", "tune", "encoder", "features"]
    assert longest_first(nodes, {}) == nodes
