"""The path: its ends, its velocity, times of each sample, and the time shift."""

from __future__ import annotations

import torch

from drlbench.flow.path import column, heun_step, interpolate, shift_time


def test_the_path_runs_straight_from_noise_to_data() -> None:
    x0, x1 = torch.randn(2, 3, 1, 2, 2, dtype=torch.float64)
    ends = [interpolate(x0, x1, torch.full((3,), t, dtype=torch.float64)) for t in (0.0, 1.0)]
    assert torch.equal(ends[0], x0)
    assert torch.equal(ends[1], x1)
    t = torch.tensor([0.1, 0.5, 0.8], dtype=torch.float64)
    torch.testing.assert_close(interpolate(x0, x1, t + 0.1) - interpolate(x0, x1, t), 0.1 * (x1 - x0))


def test_each_sample_and_each_of_its_times_has_its_own_place() -> None:
    x0, x1, t = torch.zeros(2, 5, 1, 2, 2), torch.ones(2, 1, 1, 2, 2), torch.rand(2, 5)
    assert torch.equal(interpolate(x0, x1, t), column(t, x0).expand_as(x0))
    assert column(t, x0).shape == (2, 5, 1, 1, 1)


def test_the_time_shift_keeps_the_ends_and_favours_noise() -> None:
    t = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    assert shift_time(t, 3.0).tolist() == [0.0, 0.25, 1.0]
    assert shift_time(t, 1.0).tolist() == t.tolist()
    assert shift_time(t, 3.0, t_max=0.5).tolist() == [0.0, 0.125, 0.5]


def test_a_heun_step_is_exact_where_the_drift_is_linear_in_time_and_runs_either_way() -> None:
    x = torch.ones(2, 1, 2, 2, dtype=torch.float64)

    def drift(x: torch.Tensor, t: float) -> torch.Tensor:
        return torch.full_like(x, 2 * t)

    torch.testing.assert_close(heun_step(drift, x, 0.25, 1.0, 0.75), x + 1.0 - 0.0625)
    torch.testing.assert_close(heun_step(drift, x, 1.0, 0.25, -0.75), x - 1.0 + 0.0625)
