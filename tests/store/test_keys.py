"""A key changes with everything a result depends on, and with nothing else."""

from __future__ import annotations

import pytest

from drlbench.seeds import seed_of
from drlbench.store.keys import canonical, stage_key


def test_order_of_settings_does_not_matter() -> None:
    assert stage_key("x", 1, {"a": 1, "b": 2.0}, {}) == stage_key("x", 1, {"b": 2.0, "a": 1}, {})


@pytest.mark.parametrize(
    "other", [("y", 1, {"a": 1}, {}), ("x", 2, {"a": 1}, {}), ("x", 1, {"a": 2}, {}), ("x", 1, {"a": 1}, {"i": "k"})]
)
def test_every_part_matters(other: tuple) -> None:
    assert stage_key("x", 1, {"a": 1}, {}) != stage_key(*other)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object()])
def test_what_json_cannot_say_is_refused(value: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        canonical({"a": value})


def test_seeds_differ_and_fit_a_generator() -> None:
    seeds = {seed_of("a", i) for i in range(1000)} | {seed_of("b", i) for i in range(1000)}
    assert len(seeds) == 2000
    assert all(0 <= s < 2**63 for s in seeds)
    assert seed_of("a", "bc") != seed_of("ab", "c")
