"""The share of the attainable objective: 0 for the start, 1 for the tilt itself."""

from __future__ import annotations

import pytest

from drlbench.run.bound import attained

TILT = {"tilt_objective": (-1.0, 0.02), "tilt_start": (-2.6, 0.03)}


def rows(reward: float, kl: float) -> dict[str, dict[str, float]]:
    found = attained(TILT, {"r": (reward, 0.04)}, {"r": 1.0}, (kl, 0.05), 2000)
    return {row["metric"]: row for row in found}


def test_the_tilt_attains_all_and_the_start_nothing() -> None:
    best, none = rows(0.1, 1.1), rows(-2.6, 0.0)
    assert best["attainable_share"]["value"] == pytest.approx(1.0)
    assert best["tilt_gap_nats"]["value"] == pytest.approx(0.0)
    assert best["nats_per_reward"]["value"] == pytest.approx(1.1 / 2.7)
    assert none["attainable_share"]["value"] == pytest.approx(0.0)
    assert none["tilt_gap_nats"]["value"] == pytest.approx(1.6)
    assert "nats_per_reward" not in none  # nothing was gained


def test_the_error_is_that_of_the_parts() -> None:
    row = rows(-1.4, 0.6)["attainable_share"]
    share = (-2.0 + 2.6) / 1.6
    variance = 0.04**2 + 0.05**2 + ((1 - share) * 0.03) ** 2 + (share * 0.02) ** 2
    assert row["value"] == pytest.approx(share)
    assert row["high"] - row["low"] == pytest.approx(2 * 1.96 * variance**0.5 / 1.6)
