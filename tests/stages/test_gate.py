"""The base gate: what passes, what does not, and that nothing is trained behind a closed one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from drlbench.errors import CellsFailed, UserError
from drlbench.plan.pipeline import lay_out
from drlbench.run.perform import Options, perform
from drlbench.stages import Job, gate
from drlbench.store.layout import Store
from drlbench.suite.load import load_suite

TINY = Path(__file__).parents[1] / "fault" / "tiny.yaml"
SETTINGS = {
    "space": "pixels",
    "fd": 10.0,
    "tolerance": 0.05,
    "source": "a paper",
    "backbone": "sit",
    "how": "euler4, guidance none, 60 samples",
    "published_n": 60,
}


def measured(tmp_path: Path, value: float) -> Job:
    (tmp_path / "scores").mkdir()
    rows = [
        {"metric": "fd_val", "value": 0.0},
        {"metric": "fd", "value": value, "low": 9.0, "high": 11.0, "n": 60},
    ]
    (tmp_path / "scores" / "rows.json").write_text(json.dumps(rows))
    (tmp_path / "out").mkdir()
    return Job(SETTINGS, {"scores": tmp_path / "scores"}, tmp_path / "out", tmp_path, "cpu", lambda done: None)


@pytest.mark.parametrize("value", [9.51, 10.0, 10.49])
def test_a_base_as_published_passes(tmp_path: Path, value: float) -> None:
    gate.run(measured(tmp_path, value))
    kept = json.loads((tmp_path / "out" / "gate.json").read_text())
    assert (kept["measured"]["value"], kept["measured"]["low"], kept["fd"], kept["source"]) == (
        value,
        9.0,
        10.0,
        "a paper",
    )


@pytest.mark.parametrize("value", [9.4, 10.6, float("nan")])
def test_another_base_does_not(tmp_path: Path, value: float) -> None:
    with pytest.raises(
        UserError,
        match=r"base gate of sit: FD .* in pixels \(n = 60, 95 % interval 9.000 to 11.000; euler4, guidance none, 60 "
        r"samples\) is .* off the stated 10 \(a paper\); at most 5.0% is allowed",
    ):
        gate.run(measured(tmp_path, value))
    assert not list((tmp_path / "out").iterdir())


def test_fewer_samples_than_were_published_are_said_to_be_fewer(tmp_path: Path) -> None:
    job = measured(tmp_path, 20.0)
    with pytest.raises(UserError, match="The stated value rests on 50,000 samples, and fewer give a larger FD"):
        gate.run(replace(job, settings={**job.settings, "published_n": 50_000}))


def gated(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "gated.yaml"
    path.write_text(TINY.read_text().replace("    family: sit\n", f"    family: sit\n    gate: {text}\n"))
    return path


def test_training_waits_for_it_and_its_tolerance_is_in_no_other_key(tmp_path: Path) -> None:
    graphs = []
    for tolerance in (0.1, 0.2):
        suite = load_suite(gated(tmp_path, f"{{space: pixels, fd: 3, tolerance: {tolerance}}}"))
        graphs.append(lay_out(suite))
    nodes = graphs[0].nodes
    (door,) = [n for n in nodes.values() if n.kind == "gate"]
    waiting = {n.kind for n in nodes.values() if (door.kind, door.key) in n.after}
    assert waiting == {"reward", "finetune"}
    assert all(n.after for n in nodes.values() if n.kind == "finetune")
    different = set(graphs[0].nodes) ^ set(graphs[1].nodes)
    assert {(graphs[0].nodes.get(k) or graphs[1].nodes[k]).kind for k in different} == {"gate"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{space: pixel, fd: 3, tolerance: 0.1}", "unknown space 'pixel'"),
        ("{space: pixels, fd: 3, tolerance: 0.1, guidance: cfg}", "unknown guidance 'cfg'"),
        ("{space: pixels, fd: -3, tolerance: 0.1}", "greater than 0"),
        ("{space: pixels, tolerance: 0.1}", "state the published `fd`, or take the card's with `protocol: card`"),
        ("{space: pixels, fd: 3, tolerance: 0.1, n: 10}", "`n` is no part of `protocol: suite`"),
        ("{space: pixels, fd: 3, tolerance: 0.1, protocol: card}", "`fd` is no part of `protocol: card`"),
        ("{space: pixels, tolerance: 0.1, protocol: card}", "'None' is no card"),
        ("{space: pixels, tolerance: 0.1, protocol: sit-xl-2-25}", "no card .did you mean 'sit-xl-2-256'"),
        ("{space: pixels, tolerance: 0.1, protocol: sit-s-2-256}", "holds no FID that can be measured again"),
        ("{space: pixels, tolerance: 0.1, protocol: sit-xl-2-256}", "in a space of kind 'inception-v3', not 'pixels'"),
    ],
)
def test_a_gate_that_leads_nowhere(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_suite(gated(tmp_path, text))


@pytest.mark.usefixtures("in_process")
@pytest.mark.filterwarnings("ignore")
def test_behind_a_closed_gate_nothing_is_trained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    suite = load_suite(gated(tmp_path, "{space: pixels, fd: 0.001, tolerance: 0.1, source: nobody}"))
    store = Store(tmp_path / "store")
    with pytest.raises(CellsFailed, match=r"3 of 4 cells failed"):
        perform(suite, lay_out(suite, "*"), store, tmp_path / "run", Options(1, "cpu", "drlbench run"))
    assert capsys.readouterr().err.count("base gate of sit: FD") == 1
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["classes"] == [str(i) for i in range(10)]  # the rows of the grids
    status = {c["id"]: c for c in record["cells"]}
    assert status["sit/base/seed=0.0"]["status"] == "ok"
    failed = [c for c in record["cells"] if c["status"] == "failed"]
    assert len(failed) == 3
    assert all("off the stated 0.001 (nobody)" in c["error"] for c in failed)
    assert not {kind for kind, _ in store.entries()} & {"reward", "finetune"}
