"""What `--repair` takes out of a store, and what it leaves; what a report leaves of an earlier one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from drlbench.plan.node import Node
from drlbench.run.leftovers import clear_stale, snapshot
from drlbench.run.repair import repair
from drlbench.store import atomic
from drlbench.store.layout import Store


def node(name: str, *inputs: Node) -> Node:
    return Node(name * 64, "features", 1, {}, {n.label: (n.kind, n.key) for n in inputs}, f"stage {name}")


def made(store: Store, stage: Node) -> Path:
    record = {"key": stage.key, "kind": stage.kind, "version": 1, "settings": {}, "inputs": {}, "label": stage.label}
    with atomic.artefact(store.folder(stage.kind, stage.key), record) as out:
        atomic.write_json(out / "rows.json", [1, 2, 3])
    return store.folder(stage.kind, stage.key)


@pytest.fixture
def chain(tmp_path: Path) -> tuple[Store, list[Node]]:
    """a -> b -> c, and d by itself."""
    a, d = node("a"), node("d")
    b = node("b", a)
    nodes = [a, b, node("c", b), d]
    store = Store(tmp_path)
    for stage in nodes:
        made(store, stage)
    return store, nodes


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[1] ^= 1
    path.write_bytes(content)


def test_a_sound_store_stays_as_it_is(chain: tuple[Store, list[Node]]) -> None:
    store, nodes = chain
    assert repair(nodes, store) == []
    assert all(store.has(n.kind, n.key) for n in nodes)


def test_damage_and_all_that_was_made_from_it_goes(chain: tuple[Store, list[Node]]) -> None:
    store, nodes = chain
    _, b, _, _ = nodes
    flip(store.folder(b.kind, b.key) / "rows.json")
    lines = repair(nodes, store)
    assert [line.partition(":")[0] for line in lines] == ["stage b", "stage c"]
    assert "rows.json" in lines[0] and "made from what was damaged" in lines[1]
    assert [store.has(n.kind, n.key) for n in nodes] == [True, False, False, True]
    assert repair(nodes, store) == []


def test_what_was_to_become_of_damage_goes_though_it_is_not_finished(chain: tuple[Store, list[Node]]) -> None:
    store, nodes = chain
    a, b, c, _ = nodes
    store.discard(store.folder(c.kind, c.key))
    store.partial(c.key).mkdir(parents=True)
    flip(store.folder(a.kind, a.key) / "rows.json")
    assert len(repair(nodes, store)) == 2
    assert not store.partial(c.key).exists() and not store.has(b.kind, b.key)


def test_only_what_was_not_written_again_is_stale(tmp_path: Path) -> None:
    for name in ("results.csv", "table.csv"):
        (tmp_path / name).write_text("old")
    (tmp_path / "mine.txt").write_text("the reader's own")
    before = snapshot(tmp_path)
    assert set(before) == {"results.csv", "table.csv"}
    (tmp_path / "new").write_text("new")
    os.replace(tmp_path / "new", tmp_path / "results.csv")
    assert clear_stale(tmp_path, before) == ["table.csv"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine.txt", "results.csv"]
