"""The cost measurement on a small network: its arithmetic, and that every phase is timed."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
import torch
from torch import Tensor

import drlbench.bench
from drlbench.backbones import create, wrap
from drlbench.backbones.sit import SiTVelocity
from drlbench.bench import _forward_flops, bench
from drlbench.errors import MissingPrerequisite, UserError

PHASES = ("rollout", "adjoint", "update")
SMALL = {"input_size": 8, "in_channels": 1, "hidden_size": 16, "depth": 1, "num_heads": 4, "num_classes": 10}


def test_small_network() -> None:
    result = bench("sit", batch=4, measured_steps=3, repeats=1, device="cpu", **SMALL)
    assert result.batch == 4 and result.trajectories == 345_600 and result.paper_hours == 190
    # 100 forwards, 100 products at 2, 200 trained rows at 3: 900 forwards a trajectory.
    floor = 345_600 * 900 * result.forward_tflop / result.peak_tflops / 3600
    assert result.floor_hours == pytest.approx(floor, rel=1e-9)
    expected = 345_600 * (
        100 / result.rollout.per_second + 100 / result.adjoint.per_second + 200 / result.update.per_second
    )
    assert result.total_hours == pytest.approx(expected / 3600, rel=1e-6)
    assert result.total_hours > result.floor_hours
    for rate in (result.rollout, result.adjoint, result.update, result.sampling):
        assert 0 < rate.share_of_peak < 1
    json.dumps(asdict(result), allow_nan=False)


@pytest.mark.parametrize(("name", "tflop", "millions"), [("sit-xl-2", 0.237, 675), ("jit-h-16", 0.364, 953)])
def test_forward_cost_of_the_papers_networks(name: str, tflop: float, millions: float) -> None:
    """0.237 TFLOP is the arithmetic's own figure for SiT-XL/2; counted without memory, on the meta device."""
    with torch.device("meta"):
        model = wrap(create(name))
    assert _forward_flops(model) / 1e12 == pytest.approx(tflop, abs=0.001)
    assert sum(p.numel() for p in model.net.parameters()) / 1e6 == pytest.approx(millions, abs=1)


def test_modes_are_measured_alike_and_the_faster_one_is_extrapolated() -> None:
    result = bench("sit", batch=4, measured_steps=2, repeats=1, compiled=True, device="cpu", **SMALL)
    (mode,) = result.modes.values()
    assert list(result.modes) == ["compiled"] and result.compiled
    assert result.total_hours == mode.total_hours == pytest.approx(sum(mode.hours[p] for p in PHASES))
    assert mode.images_per_second == pytest.approx(mode.sampling.per_second / 99)
    assert mode.peak_memory_bytes == {} and result.peak_memory_bytes is None, "only CUDA counts what is allocated"
    assert {"processor", "cores", "torch"} <= set(result.machine)


def test_a_batch_that_does_not_fit_is_not_measured_in_smaller_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    class SmallMemory(SiTVelocity):
        def velocity(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
            if len(x) > 16:
                raise torch.OutOfMemoryError("simulated")
            return super().velocity(x, t, y)

    made = drlbench.bench._random_model("sit", None, SMALL)
    made.__class__ = SmallMemory
    monkeypatch.setattr(drlbench.bench, "_random_model", lambda *_: made)
    assert bench("sit", measured_steps=2, repeats=1, device="cpu", **SMALL).batch <= 16
    with pytest.raises(MissingPrerequisite, match="out of memory with 32 rows"):
        bench("sit", batch=32, measured_steps=2, repeats=1, device="cpu", **SMALL)


def test_auto_batch_and_unknown_argument() -> None:
    assert bench("sit", measured_steps=2, repeats=1, device="cpu", **SMALL).batch >= 8
    with pytest.raises(UserError, match="no architecture argument 'dept'"):
        bench("sit", batch=2, dept=3)
