"""The work of small suites against PyTorch's counter, and what a plan makes of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from drlbench.cost.arithmetic import PEAK_TFLOPS, forward_tflop
from drlbench.cost.counting import operations
from drlbench.cost.measured import measured_share, measured_tflops
from drlbench.cost.small_networks import (
    encoder_operations,
    encoder_training_rows,
    head_operations,
    preference_operations,
)
from drlbench.cost.table import cost_table, throughput_of
from drlbench.cost.throughput import ASSUMED, Work
from drlbench.cost.workload import R1_FORWARDS, Workload
from drlbench.plan.pipeline import lay_out
from drlbench.registry import ENCODERS, REWARDS
from drlbench.rewards.discriminator import DiscriminatorSettings
from drlbench.rewards.discriminator_fit import fit_discriminator
from drlbench.rewards.head import ProjectionHead
from drlbench.store.layout import Store
from drlbench.suite.kinds import in_full
from drlbench.suite.load import load_suite

SHAPE = (3, 16, 16)
SUITE = Path(__file__).parents[2] / "suites" / "cifar10.yaml"
KINDS: list[tuple[str, dict[str, Any]]] = [
    ("small-classifier", {"width": 16, "kernel": 5, "features": 32, "steps": 4, "batch": 8}),
    ("small-contrastive", {"width": 16, "features": 32, "steps": 3, "batch": 8}),
    ("small-dae", {"width": 16, "features": 32, "steps": 3, "batch": 8}),
    ("pixels", {"components": 5}),
]


def pictures(count: int) -> Any:
    return np.random.default_rng(0).integers(0, 256, (count, 16, 16, 3), dtype=np.uint8)


@pytest.mark.parametrize(("kind", "given"), KINDS, ids=[k for k, _ in KINDS])
def test_encoders(kind: str, given: dict[str, Any]) -> None:
    settings = in_full(ENCODERS, kind, given)
    images, labels = pictures(20), np.arange(20) % 10
    made: list[Any] = []
    whole = operations(lambda: made.extend(ENCODERS.get(kind).fit(images, labels, given, 0)))
    one = encoder_operations(kind, settings, SHAPE)
    assert one is not None
    counted = operations(lambda: made[0].features(torch.rand(1, *SHAPE)))
    assert one == pytest.approx(counted, rel=1e-6)
    if kind != "pixels":
        rows, each = encoder_training_rows(kind, settings, SHAPE)
        # The first layer has no product for its input; the features of the 20 images set the scale afterwards.
        assert whole - 20 * one == pytest.approx(3 * rows * each, rel=0.15)


@pytest.mark.parametrize("network", ["conv", "mlp"])
def test_preference(network: str) -> None:
    settings = in_full(REWARDS, "bradley-terry", {"network": network})
    kind = REWARDS.get("bradley-terry")
    reward = kind("bt", kind.Record(network=network), SHAPE, 10)
    y = torch.zeros(1, dtype=torch.int64)
    counted = operations(lambda: reward(torch.rand(1, *SHAPE), y))
    assert preference_operations(settings, SHAPE) == pytest.approx(counted)


def test_discriminator() -> None:
    """Heads, and the forwards that a step of R1 is worth."""
    given = {"head": "mlp-2", "width": 24, "heads": 2, "batch": 16, "steps": 4, "patience": None}
    settings = DiscriminatorSettings(**given).model_dump()
    head = ProjectionHead(32, 10, "mlp-2", 24, 0.0, 2, 0)
    one = head_operations(settings, 32)
    assert one == pytest.approx(operations(lambda: head(torch.rand(1, 32), torch.zeros(1, dtype=torch.int64))))
    encoder, _ = ENCODERS.get("small-classifier").fit(pictures(20), np.arange(20) % 10, KINDS[0][1], 0)
    pair = torch.rand(20, *SHAPE), torch.arange(20) % 10
    without, with_r1 = (
        operations(lambda r1=r1: fit_discriminator(encoder, pair, pair, pair, pair, 10, given | {"r1": r1}, 0))
        for r1 in (0.0, 1.0)
    )
    through = encoder_operations("small-classifier", encoder.settings.model_dump(), SHAPE)
    assert through is not None
    forwards = (with_r1 - without) / (4 * 8 * (through + one))
    assert forwards == pytest.approx(R1_FORWARDS, abs=0.6)


def test_every_stage_of_the_cifar_suite_is_counted() -> None:
    graph = lay_out(load_suite(SUITE), "*", absent_ok=True)
    work = Workload(graph)
    for node in graph.nodes.values():
        assert (work.of(node) is None) == (node.kind == "scores"), node.label
    forward = 1e12 * forward_tflop("sit", graph.spec.backbones["sit"].architecture)
    (base,) = (n for n in graph.nodes.values() if n.label == "sit base, seed 0")
    found = work.of(base)
    assert found is not None and found.fp32 == pytest.approx(15_000 * 256 * 3 * forward)
    # DRaFT-1 through 20 steps: 19 forwards and one of three.
    (tune,) = (n for n in graph.nodes.values() if n.kind == "finetune" and n.settings["algorithm"] == "draft")
    found = work.of(tune)
    assert found is not None and found.bf16 == pytest.approx(371 * 256 * 22 * forward)


def test_the_plan_of_small_networks_is_counted_for_a_device(tmp_path: Path) -> None:
    graph = lay_out(load_suite(SUITE), "*", absent_ok=True)
    gpu, cpu = (cost_table(graph, Store(tmp_path), device) for device in ("cuda", "cpu"))
    for table in (gpu, cpu):
        assert {k.kind: k.basis for k in table.kinds}["base"] == "counted"
        assert {k.kind: k.basis for k in table.kinds}["scores"] == "guess"
        assert "ASSUMED" in table.to_text()
    assert 10 * gpu.to_json()["seconds"] < cpu.to_json()["seconds"]
    json.dumps(gpu.to_json())
    digits = load_suite(SUITE.parent / "digits-small.yaml")
    table = cost_table(lay_out(digits, "*"), Store(tmp_path))
    assert {k.basis for k in table.kinds} == {"guess"} and table.throughput is None


def test_a_kept_benchmark_takes_the_place_of_what_is_assumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = lay_out(load_suite(SUITE), "*", absent_ok=True)
    architecture = graph.spec.backbones["sit"].architecture
    result = {
        "backbone": "sit", "architecture": architecture, "precision": "bf16", "device": "NVIDIA H200",
        "floor_hours": 1.0, "peak_tflops": PEAK_TFLOPS, "total_hours": 10.0,
    }  # fmt: skip
    (tmp_path / "small.json").write_text(json.dumps(result))
    (tmp_path / "unfinished.json").write_text(json.dumps(result | {"total_hours": None, "device": "cpu"}))
    monkeypatch.setenv("DRLBENCH_BENCH", str(tmp_path))
    assert measured_tflops("sit", architecture, "bf16", "cuda") == pytest.approx(79)
    assert measured_tflops("sit", architecture | {"depth": 1}, "bf16", "cuda") is None
    assert measured_tflops("sit", architecture, "bf16", "cpu") is None
    assert measured_share("sit-xl-2", 1.0) is None
    found = throughput_of(graph, "cuda")
    assert (found.bf16, found.fp32) == (pytest.approx(79), ASSUMED["cuda"].fp32) and "MEASURED" in found.basis


def test_seconds_of_work() -> None:
    work = Work(fp32=50e12, kernels=1e5, draws=1e8, host=3e10)
    assert ASSUMED["cuda"].seconds(work) == pytest.approx(2.0 + 1.0), "kernels are started while others run"
    assert ASSUMED["cpu"].seconds(work) == pytest.approx(1000 + 2.0 + 0.5 + 1.0)
    assert work + Work(bf16=1.0) == Work(50e12, 1.0, 1e5, 1e8, 3e10)
