"""One run of a plan: what a failure takes with it, how the run ends, and what running again makes."""

from __future__ import annotations

import json
import signal
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from least_run import Least

from drlbench.errors import CellsFailed, UserError
from drlbench.plan.node import Node
from drlbench.report.results import read_results
from drlbench.run import perform as module
from drlbench.run.executors.base import Outcome, Work
from drlbench.run.executors.local import InProcessExecutor
from drlbench.run.perform import Options, perform
from drlbench.run.signals import Interrupted
from drlbench.store import manifest
from drlbench.suite.load import load_suite

OPTIONS = Options(1, "cpu", "drlbench run least.yaml")
BASE, ONE, TWO = (f"sit/{name}/seed=0.0" for name in ("base", "drl/lambda=1", "drl/lambda=2"))


class Faulty(InProcessExecutor):
    """Makes stages here, but for those of `faults`: label -> outcome, or an exception on submission."""

    faults: dict[str, Outcome | BaseException]

    def submit(self, node: Node) -> Future[Outcome]:
        fault = self.faults.get(node.label)
        if isinstance(fault, BaseException):
            raise fault
        if fault is None:
            return super().submit(node)
        done: Future[Outcome] = Future()
        done.set_result(fault)
        return done


@pytest.fixture(autouse=True)
def faults(monkeypatch: pytest.MonkeyPatch) -> dict[str, Outcome | BaseException]:
    """Stages are made in this process; those entered here end as they are told."""
    found: dict[str, Outcome | BaseException] = {}

    def executor(store: Any, folder: Path, plan: Any, options: Options) -> Faulty:
        made = Faulty(Work(store.place, "cpu"), "cpu")
        made.faults = found
        return made

    monkeypatch.setattr(module, "_executor", executor)
    return found


def run(least: Least, folder: Path, options: Options = OPTIONS) -> dict[str, Any]:
    return perform(least.suite, least.plan, least.store, folder, options).record


def kept(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return found


def forget(least: Least, *nodes: Node) -> None:
    for node in nodes:
        least.store.discard(least.store.folder(node.kind, node.key))


def test_a_run_of_what_is_there_makes_nothing_and_says_the_same(least: Least, tmp_path: Path) -> None:
    first = run(least, tmp_path / "run")
    before = (tmp_path / "run" / "results.csv").read_bytes()
    assert first["status"] == "complete" and {c["status"] for c in first["cells"]} == {"ok"}
    assert len(first["stages"]) == len(least.plan.nodes)
    manifest.check(tmp_path / "run")
    run(least, tmp_path / "run")
    assert (tmp_path / "run" / "results.csv").read_bytes() == before
    events = [json.loads(line) for line in (tmp_path / "run" / manifest.LOG).read_text().splitlines()]
    assert {e["status"] for e in events if e["event"] == "end"} == {"cached"}


def test_the_longest_way_goes_first(least: Least, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `plan` counts it; the plan's own order would take the short stage, whose cell comes first."""
    short, long = least.cell("drl", 1.0).kl, least.cell("drl", 2.0).kl
    assert short is not None and long is not None
    forget(least, short, long)
    monkeypatch.setattr(module, "to_come", lambda *_: ({short.key: 1.0, long.key: 100.0}, 0.0))
    run(least, tmp_path / "run")
    events = [json.loads(line) for line in (tmp_path / "run" / manifest.LOG).read_text().splitlines()]
    assert [e["label"] for e in events if e["event"] == "start"] == [long.label, short.label]


def test_a_failing_stage_takes_its_own_cell_and_no_other(
    least: Least, tmp_path: Path, faults: dict[str, Outcome | BaseException]
) -> None:
    two = least.cell("drl", 2.0)
    measured = two.measured["none"]
    assert two.kl is not None
    forget(least, two.model, measured.samples, two.kl, *(node for node, _ in measured.numbers()))
    faults[two.model.label] = Outcome("failed", error="the loss is not finite", code=1, detail="Traceback: here")
    with pytest.raises(CellsFailed, match="1 of 3 cells failed") as stop:
        run(least, tmp_path / "run")
    assert stop.value.exit_code == 1 and "--repair" not in str(stop.value)
    record = kept(tmp_path / "run")
    assert record["status"] == "failed"
    assert {c["id"]: c["status"] for c in record["cells"]} == {BASE: "ok", ONE: "ok", TWO: "failed"}
    (failed,) = (c for c in record["cells"] if c["id"] == TWO)
    assert failed["error"] == f"{two.model.label}: the loss is not finite"
    assert {row.lambda_ for row in read_results(tmp_path / "run" / "results.csv") if row.run == "drl"} == {1.0}
    (log,) = (tmp_path / "run" / "logs").iterdir()
    assert log.read_text() == "Traceback: here"
    assert (tmp_path / "run" / "report.html").is_file()
    manifest.check(tmp_path / "run")


def test_what_is_below_a_failure_is_named_after_it(
    least: Least, tmp_path: Path, faults: dict[str, Outcome | BaseException]
) -> None:
    """The base's samples fail: its own cell does, and nobody else's stage is blamed for another's failure."""
    base = least.cell("base").measured["none"]
    forget(least, base.samples, base.scores["pixels"])
    faults[base.samples.label] = Outcome("failed", error="no room", code=6)
    with pytest.raises(CellsFailed) as stop:
        run(least, tmp_path / "run")
    assert stop.value.exit_code == 6, "a missing resource is told by the exit code"
    errors = {c["id"]: c["error"] for c in kept(tmp_path / "run")["cells"]}
    assert errors[BASE] == f"{base.samples.label}: no room"
    assert errors[ONE] == errors[TWO] == ""


def test_damage_outweighs_other_failures_and_is_repaired(
    least: Least, tmp_path: Path, faults: dict[str, Outcome | BaseException]
) -> None:
    run(least, tmp_path / "run")
    before = (tmp_path / "run" / "results.csv").read_bytes()
    scores, kl = least.cell("drl", 1.0).measured["none"].scores["pixels"], least.cell("drl", 2.0).kl
    assert kl is not None
    least.damage(scores, "rows.json")
    forget(least, kl)
    faults[kl.label] = Outcome("failed", error="out of memory", code=6)
    with pytest.raises(CellsFailed, match=r"drlbench run least\.yaml --repair") as stop:
        run(least, tmp_path / "run")
    assert stop.value.exit_code == 5
    errors = {c["id"]: c["error"] for c in kept(tmp_path / "run")["cells"]}
    assert "rows.json" in errors[ONE] and "out of memory" in errors[TWO] and errors[BASE] == ""
    faults.clear()
    run(least, tmp_path / "run", replace(OPTIONS, repair=True))
    assert (tmp_path / "run" / "results.csv").read_bytes() == before


def test_an_interrupted_run_keeps_what_there_is_and_goes_on(
    least: Least, tmp_path: Path, faults: dict[str, Outcome | BaseException]
) -> None:
    scores = least.cell("drl", 2.0).measured["none"].scores["pixels"]
    forget(least, scores)
    faults[scores.label] = Interrupted(128 + signal.SIGTERM)
    with pytest.raises(Interrupted):
        run(least, tmp_path / "run")
    record = kept(tmp_path / "run")
    assert record["status"] == "interrupted"
    assert {c["id"]: c["status"] for c in record["cells"]} == {BASE: "ok", ONE: "ok", TWO: "missing"}
    manifest.check(tmp_path / "run")
    (tmp_path / "run" / "run.json").chmod(0o644)
    (tmp_path / "run" / "run.json").write_text(json.dumps(record | {"wall_seconds": 1000.0}))
    faults.clear()
    again = run(least, tmp_path / "run")
    assert again["status"] == "complete" and again["wall_seconds"] >= 1000.0, "the first attempt's time counts"


def test_a_folder_of_another_suite_is_refused(least: Least, tmp_path: Path) -> None:
    run(least, tmp_path / "run")
    before = (tmp_path / "run" / "run.json").read_bytes()
    other = replace(least, suite=load_suite(least.suite.path, ("suite=other",)))
    with pytest.raises(UserError, match="holds a run of suite 'least', not of 'other'"):
        run(other, tmp_path / "run")
    assert (tmp_path / "run" / "run.json").read_bytes() == before
