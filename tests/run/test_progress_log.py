"""What a run tells while it goes on, and what `status` reads back from the folder."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from drlbench.errors import IntegrityError, UserError
from drlbench.plan.node import Node
from drlbench.run.events import read_events, read_status, run_keys
from drlbench.run.executors.base import Outcome
from drlbench.run.progress import Watcher


def node(name: str, kind: str = "base") -> Node:
    return Node(name * 64, kind, 1, {}, {}, f"stage {name}")


NODES = [node("a"), node("b"), node("c", "samples")]
EXPECTED = {n.key: 10.0 for n in NODES}


def watched(folder: Path, workers: int = 1) -> Watcher:
    watcher = Watcher(NODES, workers, folder / "events.jsonl", EXPECTED)
    watcher.write("run", command="drlbench run x", stages=3, workers=workers)
    return watcher


def test_every_end_is_written_with_what_is_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    watcher = watched(tmp_path, workers=2)
    a, b, c = NODES
    watcher("start", a, None)
    now[0] += 5  # half of what was expected for half of the stage
    watcher("progress", a, 0.5)
    assert watcher.estimate() == pytest.approx(12.5)
    watcher("end", a, Outcome("made", seconds=10.0))
    watcher("wait", b, "1234 on here")
    watcher("end", b, Outcome("cached"))
    watcher("end", c, Outcome("failed", error="no disk", detail="Traceback ...", code=6))
    ends = [e for e in read_events(tmp_path) if e.event == "end"]
    assert [(e.status, e.left, e.seconds) for e in ends] == [
        ("made", 10, 10.0),
        ("cached", 5, 0.0),
        ("failed", 0, 0.0),
    ]
    assert [e.owner for e in read_events(tmp_path) if e.event == "wait"] == ["1234 on here"]
    said = capsys.readouterr().err
    assert "[1/3] stage a: 10.0 s, about 0:10 left" in said
    assert "stage b: waits for 1234 on here" in said and "failed: stage c: no disk" in said
    assert (tmp_path / "logs" / f"samples-{c.key[:12]}.log").read_text() == "Traceback ..."


def test_without_bars_a_long_stage_speaks_once_a_minute(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    watcher = watched(tmp_path)
    watcher("start", NODES[0], None)
    for now[0] in (20.0, 40.0, 61.0, 70.0, 125.0):
        watcher("progress", NODES[0], now[0] / 200)
    said = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in said] == ["  stage a: 30%", "  stage a: 62%"]


def test_a_bound_is_called_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    watcher = Watcher(NODES, 1, tmp_path / "events.jsonl", EXPECTED | {NODES[2].key: 0.0})
    watcher("end", NODES[0], Outcome("made", seconds=10.0))
    assert "over 0:10 left" in capsys.readouterr().err


def test_a_run_begins_with_how_much_there_is_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Watcher(NODES, 2, tmp_path / "events.jsonl", {NODES[0].key: 10.0, NODES[2].key: 20.0}):
        assert "3 stages, 1 of them in the store; about 0:15 left on 2 workers" in capsys.readouterr().err


def test_a_line_that_a_kill_has_cut_is_dropped_by_the_next_attempt(tmp_path: Path) -> None:
    watched(tmp_path)("start", NODES[0], None)
    with (tmp_path / "events.jsonl").open("a") as log:
        log.write('{"at": "2026-')
    assert [e.event for e in read_events(tmp_path)] == ["run", "start"]
    watched(tmp_path)
    assert [e.event for e in read_events(tmp_path)] == ["run", "start", "run"]
    for line in (tmp_path / "events.jsonl").read_text().splitlines():
        json.loads(line)


def test_status_of_the_last_attempt(tmp_path: Path) -> None:
    a, b, _ = NODES
    first = watched(tmp_path)
    first("end", a, Outcome("made", seconds=1.0))
    second = watched(tmp_path)
    second("end", a, Outcome("cached"))
    second("start", b, None)
    status = read_status(tmp_path)
    assert (status.status, status.ended, status.stages, status.running) == ("stopped", 1, 3, ["stage b"])
    assert status.left_seconds is None, "nothing goes on"
    assert "was running: stage b" in status.to_text() and "goes on from here" in status.to_text()
    second("end", b, Outcome("failed", error="broken"))
    second.write("finished", status="failed")
    status = read_status(tmp_path)
    assert (status.status, status.failed, status.running) == ("failed", ["stage b"], [])


def test_folders_that_hold_no_run_or_a_damaged_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"events\.jsonl is missing"):
        read_events(tmp_path)
    (tmp_path / "events.jsonl").write_text('{"half a line')
    with pytest.raises(IntegrityError, match="holds no event"):
        read_status(tmp_path)
    (tmp_path / "events.jsonl").write_text('{"at": "x", "event": "run"}\n{"at": 3}\n')
    with pytest.raises(IntegrityError, match=r"events\.jsonl:2"):
        read_events(tmp_path)
    with pytest.raises(UserError, match="no finished run"):
        run_keys(tmp_path)
