"""The cost measurement on a small network: its arithmetic, and that every phase is timed."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from drlbench.bench import bench
from drlbench.errors import UserError

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


def test_auto_batch_and_unknown_argument() -> None:
    assert bench("sit", measured_steps=2, repeats=1, device="cpu", **SMALL).batch >= 8
    with pytest.raises(UserError, match="no architecture argument 'dept'"):
        bench("sit", batch=2, dept=3)
