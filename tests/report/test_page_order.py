"""What the page puts first, and what it tells once."""

import pytest

from drlbench.report.html import _contests, _together
from drlbench.report.rundata import read_run
from drlbench.report.summary import summarise


@pytest.fixture(scope="module")
def run(run_dir):
    return read_run(run_dir)


def test_warnings_in_the_same_words_are_told_once_with_their_cells(run):
    """Seventeen cells times seven metrics had filled two screens with ids."""
    first, second = (c.id for c in run.cells[:2])
    said = "a few samples carry most of its variance"
    told = _together(run, [f"{first}: fd: {said}", f"{second}: fd: {said}", f"{first}: taste: {said}", "free: text"])
    assert told == [(f"fd, taste: {said}", [first, second]), ("free: text", [])]


def test_fronts_on_what_nothing_was_trained_on_come_first(run):
    summary = summarise(run)
    found = _contests(run, summary)
    assert len(found) == sum(c.guidance == summary.plain_guidance for c in summary.contests) > 4
    for backbone in run.backbones:
        own = [c for c in found if c.backbone == backbone]
        held = [run.held_out_reward(c.y.metric) for c in own]
        assert held == sorted(held, reverse=True) and own[0].x.kind == "fd" and run.held_out_space(own[0].x.space)
