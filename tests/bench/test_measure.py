"""The cost measurement on a small network: its arithmetic, what a limit leaves out, and that nothing is lost."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

import drlbench.bench.measure
import drlbench.bench.phases
from drlbench.backbones import create, wrap
from drlbench.backbones.sit.network import SiTVelocity
from drlbench.bench.measure import _forward_flops, bench
from drlbench.bench.phases import NoReward, Phases
from drlbench.bench.result import BenchResult, Rate
from drlbench.cli.main import app
from drlbench.errors import MissingPrerequisite, UserError
from drlbench.finetune.adjoint_matching import SECOND_PASS

IN_RECIPE = ("rollout", "adjoint", "update")
SMALL: dict[str, Any] = {
    "input_size": 8, "in_channels": 1, "hidden_size": 16, "depth": 1, "num_heads": 4, "num_classes": 10,
}  # fmt: skip


def small(**options: Any) -> BenchResult:
    return bench("sit", **{"measured_steps": 2, "repeats": 1, "device": "cpu", **options}, **SMALL)


def speed(rate: Rate | None) -> float:
    assert rate is not None and 0 < rate.share_of_peak < 1
    return rate.per_second


def test_small_network() -> None:
    result = small(batch=4, measured_steps=3)
    assert result.batch == 4 and result.trajectories == 345_600 and result.paper_hours == 190
    # 100 forwards, 100 products at 2, 200 trained rows at 3: 900 forwards a trajectory.
    floor = 345_600 * 900 * result.forward_tflop / result.peak_tflops / 3600
    assert result.floor_hours == pytest.approx(floor, rel=1e-9)
    rows = 200 * (1 + SECOND_PASS)
    expected = 345_600 * (100 / speed(result.rollout) + 100 / speed(result.adjoint) + rows / speed(result.update))
    assert result.total_hours == pytest.approx(expected / 3600, rel=1e-6)
    assert result.total_hours is not None and result.total_hours > result.floor_hours
    assert speed(result.sampling) and result.not_measured == [] and result.architecture == SMALL
    json.dumps(asdict(result), allow_nan=False)


@pytest.mark.parametrize(("name", "tflop", "millions"), [("sit-xl-2", 0.237, 675), ("jit-h-16", 0.364, 953)])
def test_forward_cost_of_the_papers_networks(name: str, tflop: float, millions: float) -> None:
    """0.237 TFLOP is the arithmetic's own figure for SiT-XL/2; counted without memory, on the meta device."""
    with torch.device("meta"):
        model = wrap(create(name))
    assert _forward_flops(model) / 1e12 == pytest.approx(tflop, abs=0.001)
    assert sum(p.numel() for p in model.net.parameters()) / 1e6 == pytest.approx(millions, abs=1)


def test_modes_are_measured_alike_and_the_faster_one_is_extrapolated() -> None:
    with torch.compiler.set_stance("force_eager"):  # that compiling works is tests/finetune/test_compiling.py's
        result = small(batch=4, compiled=True)
    (mode,) = result.modes.values()
    assert list(result.modes) == ["compiled"] and result.compiled and mode is not None
    assert result.total_hours == mode.total_hours == pytest.approx(sum(mode.hours[p] for p in IN_RECIPE))
    assert mode.images_per_second == pytest.approx(speed(mode.sampling) / 99)
    assert mode.peak_memory_bytes == {} and result.peak_memory_bytes is None, "only CUDA counts what is allocated"
    assert {"processor", "cores", "torch"} <= set(result.machine)


def test_a_batch_that_does_not_fit_is_not_measured_in_smaller_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    class SmallMemory(SiTVelocity):
        def velocity(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
            if len(x) > 16:
                raise torch.OutOfMemoryError("simulated")
            return super().velocity(x, t, y)

    made = drlbench.bench.measure._random_model("sit", None, SMALL)
    made.__class__ = SmallMemory
    monkeypatch.setattr(drlbench.bench.measure, "_random_model", lambda *_: made)
    found = small().batch
    assert found is not None and found <= 16
    with pytest.raises(MissingPrerequisite, match="out of memory with 32 rows"):
        small(batch=32)


def test_auto_batch_and_unknown_argument() -> None:
    found = small().batch
    assert found is not None and found >= 8
    with pytest.raises(UserError, match="no architecture argument 'dept'"):
        bench("sit", batch=2, dept=3)


def slow(monkeypatch: pytest.MonkeyPatch, seconds: dict[str, float]) -> list[float]:
    """A clock of the bench's own, on which every phase takes what is said."""
    now = [0.0]
    monkeypatch.setattr(drlbench.bench.measure, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    prepare, measure = Phases.prepare, Phases.time

    def warm(self: Phases, batch: int) -> None:
        prepare(self, batch)
        now[0] += seconds["warm-up"]

    def timed(self: Phases, phase: str, *rest: Any) -> float:
        now[0] += seconds[phase]
        return measure(self, phase, *rest)

    monkeypatch.setattr(Phases, "prepare", warm)
    monkeypatch.setattr(Phases, "time", timed)
    return now


def test_a_limit_leaves_out_what_matters_least(monkeypatch: pytest.MonkeyPatch) -> None:
    slow(monkeypatch, {"warm-up": 10.0, "update": 10.0, "adjoint": 10.0, "rollout": 10.0, "sampling": 10.0})
    kept: list[BenchResult] = []
    result = small(batch=4, limit=35, on_result=kept.append)
    assert result.update and result.adjoint and result.rollout and result.sampling is None
    assert result.total_hours is not None and "evaluation_samples" not in result.hours
    assert result.not_measured == ["eager: sampling (the limit of 35 s)"]
    early = small(batch=4, limit=15)
    assert early.update and early.adjoint is early.rollout is early.total_hours is None
    assert early.not_measured == [f"eager: {p} (the limit of 15 s)" for p in ("adjoint", "rollout", "sampling")]
    # A result after every phase, each with what is still open.
    assert [len(k.hours) for k in kept] == [1, 2, 3, 3] and kept[0].total_hours is None
    assert kept[0].not_measured[0] == "eager: adjoint (under way)"
    json.dumps([asdict(k) for k in kept], allow_nan=False)


def test_a_mode_that_was_not_begun_is_null(monkeypatch: pytest.MonkeyPatch) -> None:
    slow(monkeypatch, dict.fromkeys(("warm-up", "update", "adjoint", "rollout", "sampling"), 10.0))
    result = small(batch=4, limit=60, compiled=True)
    assert result.modes == {"compiled": None} and result.total_hours is result.update is None
    assert result.not_measured == ["compiled (the limit of 60 s)"], "compilation would take longer than that"


def test_a_search_leaves_time_for_the_phases() -> None:
    model = drlbench.bench.measure._random_model("sit", None, SMALL)
    phases = Phases(model, NoReward(), "fp32", False, 2, 1)
    assert phases.best_batch(lambda: 0.0) == 8
    assert phases.best_batch(lambda: math.inf) >= 8


def test_command_keeps_its_result_after_every_phase(tmp_path: Path) -> None:
    suite = tmp_path / "small.yaml"
    architecture = ", ".join(f"{k}: {v}" for k, v in SMALL.items())
    suite.write_text(
        "suite: small\ndata: {kind: digits}\nencoders: {pixels: {kind: pixels}}\nspaces: [pixels]\n"
        f"backbones: {{tiny: {{family: sit, architecture: {{{architecture}}}, pretrain: {{steps: 1}}}}}}\n"
        "runs: {base: {}}\nsampling: {steps: 2, n: 10}\nmetrics: [fd]\n"
    )
    out = tmp_path / "bench.json"
    command = ["bench", "--suite", str(suite), "--backbone", "tiny", "--batch", "2", "--device", "cpu"]
    found = CliRunner().invoke(app, [*command, "--output", str(out), "--json"])
    assert found.exit_code == 0, found.output
    document = json.loads(out.read_text())
    assert document["backbone"] == "sit" and document["architecture"] == SMALL and document["total_hours"] > 0
    assert json.loads(found.stdout) == document
    for phase in ("update", "adjoint", "rollout", "sampling"):
        assert f"eager: {phase}" in found.stderr
    wrong = CliRunner().invoke(app, [*command[:4], "tny"])
    assert isinstance(wrong.exception, UserError) and "tiny" in str(wrong.exception)
