"""How long the rest of a run takes: expectations, corrected by what was seen."""

from __future__ import annotations

import pytest

from drlbench.cost.remaining import TRUST, Remaining

KINDS = {"a": "base", "b": "finetune", "c": "finetune", "d": "samples"}
EXPECTED = {"a": 10.0, "b": 4.0, "c": 6.0, "d": 5.0}


def factor(took: float, thought: float) -> float:
    return (TRUST + took) / (TRUST + thought)


def test_nothing_seen_is_as_expected() -> None:
    assert Remaining(KINDS, EXPECTED).seconds() == 25


def test_a_kind_is_scaled_by_its_own_stages_and_another_by_all() -> None:
    left = Remaining(KINDS, EXPECTED)
    left.end("b", 8.0)  # twice as long as expected
    assert left.seconds() == pytest.approx(factor(8, 4) * (6 + 10 + 5))
    left.end("a", 10.0)  # as expected: all together now took 18 for 14
    assert left.seconds() == pytest.approx(factor(8, 4) * 6 + factor(18, 14) * 5)


def test_a_tiny_stage_that_took_long_does_not_multiply_the_rest() -> None:
    left = Remaining({"a": "encoder", "b": "base"}, {"a": 0.01, "b": 1000.0})
    left.end("a", 35.0)  # a slow import, not a slow machine
    assert left.seconds() < 2500


def test_the_machines_speed_is_learnt_from_much_work() -> None:
    left = Remaining({"a": "base", "b": "finetune"}, {"a": 3000.0, "b": 1000.0})
    left.end("a", 9000.0)
    assert left.seconds() == pytest.approx(3000, rel=0.03)


def test_what_is_done_of_a_running_stage_is_not_left() -> None:
    left = Remaining(KINDS, EXPECTED)
    left.progress("a", 0.75, 7.5)
    assert left.seconds() == pytest.approx(25 - 7.5)
    left.progress("a", 0.75, 75.0)  # it runs at a tenth of the speed, and so may the others
    assert left.seconds() == pytest.approx(factor(75, 7.5) * (25 - 7.5))
    left.end("a", None)
    assert left.seconds() == pytest.approx(15)


def test_stages_made_elsewhere_or_failed_teach_nothing() -> None:
    left = Remaining(KINDS, EXPECTED)
    left.end("b", None)
    assert left.seconds() == pytest.approx(21)
    left.end("unknown", 3.0)
    left.progress("unknown", 0.5, 1.0)
    assert left.seconds() == pytest.approx(21)


def test_what_cannot_be_counted_is_said_until_it_is_over() -> None:
    left = Remaining(KINDS, EXPECTED | {"d": 0.0})
    assert left.uncounted == 1
    left.end("d", 100.0)
    assert (left.uncounted, left.seconds()) == (0, 20)


def test_progress_that_comes_after_the_end_takes_nothing_from_the_others() -> None:
    left = Remaining({"a": "finetune", "b": "finetune"}, {"a": 10.0, "b": 10.0})
    left.end("a", 10.0)
    left.progress("a", 1.0, 99.0)
    assert left.seconds() == 10.0
    left.end("a", 10.0)
    assert left.seconds() == 10.0
