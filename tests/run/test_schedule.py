"""The walk over a graph, whatever carries the stages out: order, failures, lost workers, stages of other runs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

from drlbench.plan.node import Node
from drlbench.run.executors.base import Outcome, WorkerLost
from drlbench.run.schedule import execute
from drlbench.store import atomic, lease
from drlbench.store.layout import Store


def node(name: str, *inputs: Node) -> Node:
    return Node(name * 64, "encoder", 1, {}, {n.label: (n.kind, n.key) for n in inputs}, name)


class Fake:
    """Makes a stage's folder at once, or does what a test says."""

    slots = 2

    def __init__(self, store: Store, behave: Callable[[Node], Outcome | None] = lambda node: None) -> None:
        self.store, self.behave = store, behave
        self.begun: list[str] = []
        self.closed: bool | None = None

    def submit(self, node: Node) -> Future[Outcome]:
        self.begun.append(node.label)
        future: Future[Outcome] = Future()
        try:
            outcome = self.behave(node)
            if outcome is None:
                with atomic.artefact(self.store.folder(node.kind, node.key), {"key": node.key}):
                    outcome = Outcome("made")
            future.set_result(outcome)
        except WorkerLost as lost:
            future.set_exception(lost)
        return future

    def progress(self) -> list[tuple[str, float]]:
        return []

    def close(self, at_once: bool) -> None:
        self.closed = at_once


def heard(said: list[tuple[str, str]]) -> Callable[[str, Node, object], None]:
    return lambda what, node, about: said.append((what, node.label))


def test_inputs_come_first_and_failures_stay_local(tmp_path: Path) -> None:
    store = Store(tmp_path)
    a, b = node("a"), node("b")
    nodes = [a, b, node("c", a), node("d", b)]
    fake = Fake(store, lambda n: Outcome("failed", error="broken", code=6) if n.label == "b" else None)
    outcomes = execute(nodes, store, fake, heard([]))
    assert [outcomes[n.key].status for n in nodes] == ["made", "failed", "made", "skipped"]
    assert outcomes[b.key].code == 6 and fake.begun == ["a", "b", "c"] and fake.closed is False
    assert list((tmp_path / "leases").iterdir()) == []


def test_a_lost_worker_gets_a_second_chance_and_no_third(tmp_path: Path) -> None:
    store, lost = Store(tmp_path), {"a": 1, "b": 2}

    def behave(n: Node) -> Outcome | None:
        if lost[n.label]:
            lost[n.label] -= 1
            raise WorkerLost("its worker was killed", 6)
        return None

    a, b = node("a"), node("b")
    outcomes = execute([a, b], store, Fake(store, behave), heard([]))
    assert outcomes[a.key].status == "made"
    assert (outcomes[b.key].status, outcomes[b.key].code) == ("failed", 6)


def test_a_stage_that_another_run_makes_is_waited_for_and_taken(tmp_path: Path) -> None:
    store, a = Store(tmp_path), node("a")
    other = lease.acquire(store.lease(a.key))

    def finish() -> None:
        with atomic.artefact(store.folder(a.kind, a.key), {"key": a.key}):
            pass
        other.release()

    said: list[tuple[str, str]] = []
    fake = Fake(store)
    threading.Timer(0.5, finish).start()
    outcomes = execute([a], store, fake, heard(said))
    assert outcomes[a.key].status == "cached"
    assert fake.begun == [] and ("wait", "a") in said
