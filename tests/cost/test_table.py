"""What `drlbench plan` says, of a small suite and of the paper's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.cells import cell_len

from drlbench.cost.counts import Counts
from drlbench.cost.estimate import Estimator, to_come
from drlbench.cost.measured import Ratios, measured, network_rates, sort_of
from drlbench.cost.table import cost_table, duration, size
from drlbench.cost.work import ASSUMED, PEAK_TFLOPS, Rate, Work
from drlbench.plan.graph import Plan
from drlbench.plan.pipeline import lay_out
from drlbench.store import atomic
from drlbench.store.layout import Store
from drlbench.suite.load import load_suite


def graph_of(name: str, pattern: str = "*", *overrides: str) -> Plan:
    return lay_out(load_suite(name, overrides), pattern, absent_ok=True)


@pytest.fixture(scope="module")
def digits() -> Plan:
    return graph_of("digits")


def test_digits_takes_what_it_took(digits: Plan, tmp_path: Path) -> None:
    """On two quiet cores it took 4:27; the estimate of before said 19:14."""
    found = cost_table(digits, Store(tmp_path), "cpu", 2).to_json()
    assert found["wall_seconds"] == pytest.approx(267, rel=0.3)
    assert found["longest_chain_seconds"] < found["wall_seconds"] < found["seconds"]
    assert not found["not_counted"] and {k["basis"] for k in found["kinds"]} <= {"counted", "recorded"}
    assert 10e6 < found["disk_bytes"] < found["peak_disk_bytes"] < 1e9
    json.dumps(found)


def test_each_override_is_held_against_the_suite_without_it(tmp_path: Path) -> None:
    few, one = "sampling.n=30", "runs.drl.lambda=[1]"
    plans = {few: graph_of("digits-small", "*", one), one: graph_of("digits-small", "*", few), "a=b": None}
    both = graph_of("digits-small", "*", few, one)
    found = cost_table(both, Store(tmp_path), "cpu", 2, without={**plans, "resamples=20": both})
    facts, text = found.to_json(), found.to_text().splitlines()
    assert facts["without"][few]["seconds"] == cost_table(plans[few], Store(tmp_path), "cpu", 2).to_json()["seconds"]
    assert facts["without"][one]["seconds"] > facts["seconds"] and facts["without"]["a=b"] is None
    fewer = f"{size(facts['disk_bytes'])} kept instead of {size(facts['without'][few]['disk_bytes'])}"
    assert next(line for line in text if line.startswith(f"--set {few}:")).endswith(fewer)
    assert "--set a=b: the suite cannot do without it" in text
    assert "--set resamples=20: costs the same without it" in text


def test_stages_that_are_alike_are_one_group(digits: Plan) -> None:
    counts = Counts(digits.nodes)
    tunes = [n for n in digits.nodes.values() if n.kind == "finetune" and n.settings["algorithm"] == "adjoint-matching"]
    prl = {counts.group(n) for n in tunes if n.settings["terms"].keys() == {"bold"} and n.label.startswith("sit")}
    assert len(prl) == 1, "lambda, seed and what the start was made of change no work"


def test_a_longer_training_takes_longer_by_what_it_depends_on(digits: Plan, tmp_path: Path) -> None:
    """Seconds of a stage that was seen are scaled to the updates, and not taken for another length."""
    store = Store(tmp_path)
    seen = next(n for n in digits.nodes.values() if n.kind == "base")
    record = {"key": seen.key, "kind": "base", "version": 1, "settings": dict(seen.settings), "inputs": {}, "label": ""}
    with atomic.artefact(store.folder("base", seen.key), record) as out:
        atomic.write_json(out / "seconds.json", 1000.0)
    own = Estimator(digits, store, "cpu")
    ratio = 1000 / ASSUMED["cpu"].seconds(_work(Counts(digits.nodes), seen), {})
    assert own.ratios[0][1].of["base"] == pytest.approx(ratio)
    other = graph_of("digits", "*", "backbones.sit.pretrain.steps=16000")
    base = next(n for n in other.nodes.values() if n.kind == "base" and n.label.startswith("sit"))
    seconds, basis = Estimator(other, store, "cpu").seconds(base)
    assert basis == "measured" and seconds == pytest.approx(2000, rel=0.01)
    assert to_come(other, store, "cpu", 1)[0][base.key] == seconds
    left = cost_table(digits, store, "cpu", 1).to_json()["kinds"]
    assert next(k for k in left if k["kind"] == "base")["cached"] == 1


def _work(counts: Counts, node: object) -> Work:
    found = counts.of(node)  # type: ignore[arg-type] # a node
    assert isinstance(found, Work)
    return found


def test_a_pattern_keeps_the_totals(digits: Plan, tmp_path: Path) -> None:
    part = cost_table(graph_of("digits", "sit/base*"), Store(tmp_path), "cpu", 2, whole=digits)
    found = part.to_json()
    assert found["whole_suite"]["seconds"] > 3 * found["seconds"] and found["whole_suite"]["cells"] == 21
    assert "whole suite, 21 cells" in part.to_text()


def test_more_gpus_shorten_the_wall_down_to_the_longest_chain(digits: Plan, tmp_path: Path) -> None:
    walls = [cost_table(digits, Store(tmp_path), "cuda", n).estimate.schedule for n in (1, 4, 1000)]
    assert walls[0].wall > 2 * walls[1].wall > 2 * walls[2].wall
    assert walls[2].wall == pytest.approx(walls[2].longest) and walls[0].wall == pytest.approx(walls[0].work)


def test_tables_fit_eighty_columns(digits: Plan, tmp_path: Path) -> None:
    text = cost_table(digits, Store(tmp_path), "cuda", 8, nodes=2).to_text()
    table = [line for line in text.splitlines() if line.startswith(("stage", "encoder", "finetune", "scores"))]
    assert len(table) == 4 and all(cell_len(line) <= 80 for line in table)
    assert "8 GPUs on 2 nodes" in text and "…" not in text and "\x1b" not in text


def test_records_and_benchmarks(digits: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kept benchmark gives a network its own rate; a record of stages is found by sort, then by kind."""
    result = {
        "backbone": "sit-xl-2", "architecture": {}, "precision": "bf16", "device": "NVIDIA H200",
        "floor_hours": 1.0, "peak_tflops": PEAK_TFLOPS, "total_hours": 10.0,
    }  # fmt: skip
    (tmp_path / "one.json").write_text(json.dumps(result))
    (tmp_path / "unfinished.json").write_text(json.dumps(result | {"total_hours": None, "device": "cpu"}))
    monkeypatch.setenv("DRLBENCH_BENCH", str(tmp_path))
    assert network_rates("cuda")[Rate("sit-xl-2", "bf16", True)][0] == pytest.approx(79)
    assert not network_rates("cpu")
    tune = next(n for n in digits.nodes.values() if n.kind == "finetune")
    assert sort_of(tune, digits.nodes) == f"finetune {tune.settings['algorithm']}"
    assert Ratios({"finetune": 2.0}, "here").find(tune, digits.nodes) == (2.0, "here")
    assert Ratios({"finetune": 2.0, sort_of(tune, digits.nodes): 3.0}, "here").find(tune, digits.nodes) == (3.0, "here")
    assert measured(Store(tmp_path / "nothing"), "cpu", {}).of == {}


def test_seconds_of_work() -> None:
    rate = Rate()
    work = Work({rate: 50e12}, kernels=1e5, draws=1e8, host=3e10)
    gpu, cpu = ASSUMED["cuda"], ASSUMED["cpu"]
    assert gpu.seconds(work, {}) == pytest.approx(gpu.start + 2.0 + 1.0), "kernels are started while others run"
    assert cpu.seconds(work, {}) == pytest.approx(cpu.start + 1000 + 2.0 + 0.5 + 1.0)
    assert cpu.seconds(work, {rate: 0.5}) == pytest.approx(cpu.start + 100 + 2.0 + 0.5 + 1.0)
    both = work + Work({rate: 1e12}, memory=5.0)
    assert both.flops == {rate: 51e12} and both.memory == 5.0 and both.times(2).draws == 2e8


def test_units() -> None:
    assert (size(5e3), size(64e6), size(2.04e13)) == ("5.0 kB", "64 MB", "20.4 TB")
    assert (duration(75), duration(40 * 3600)) == ("1:15", "40 h")


def test_of_real_images_no_more_is_counted_than_the_suite_takes() -> None:
    """CIFAR's row of held-out images was counted with 10,000 images through Inception where 1,500 are read."""

    def of(*overrides: str) -> dict[str, float]:
        graph = graph_of("digits", "sit/base/*", *overrides)
        counts = Counts(graph.nodes)
        works = {n.label: _work(counts, n) for n in graph.nodes.values()}
        return {label: sum(work.flops.values()) + work.host for label, work in works.items()}

    whole, part = of(), of("reference_images=36")  # of 360 held-out digits
    assert part["held-out images: features, classifier"] < 0.15 * whole["held-out images: features, classifier"]
    for label in ("reference features, classifier", "held-out images: scores, classifier"):
        assert part[label] < 0.5 * whole[label]
