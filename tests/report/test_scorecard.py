import math
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest

from drlbench.frontier.uncertainty import Estimate
from drlbench.report.effects import preference_gain
from drlbench.report.record import SCHEMA, RunRecord, Space
from drlbench.report.results import Row
from drlbench.report.rundata import RunData, read_run
from drlbench.report.scorecard import scorecard
from drlbench.report.summary import summarise
from drlbench.report.verdict import verdict


@pytest.fixture(scope="module")
def run(run_dir) -> RunData:
    return read_run(run_dir)


@pytest.fixture(scope="module")
def one_seed(run_dir, tmp_path_factory) -> RunData:
    copy = shutil.copytree(run_dir, tmp_path_factory.mktemp("seed") / "run")
    lines = (copy / "results.csv").read_text().splitlines(keepends=True)
    (copy / "results.csv").write_text("".join(x for x in lines if x.split(",")[6] != "0.1"))
    return read_run(copy)


def test_held_out_numbers_come_first_and_every_family_has_one_line(run):
    card = summarise(run).scorecard
    held = [c.held_out for c in card.columns if c.metric != "kl_nats"]
    assert held == sorted(held, reverse=True) and card.columns[0].title == "FD classifier †"
    assert [c.title for c in card.columns if c.metric == "taste"] == ["taste"], "optimised: no mark, at the end"
    assert [(x.backbone, x.run) for x in card.lines] == [(b, n) for b in run.backbones for n in run.runs]
    line = next(x for x in card.lines if (x.backbone, x.run) == ("small", "drl"))
    values = [run.row(c, "none", "classifier", "fd").value for c in run.seeds("small", "drl", line.lambda_)]
    assert line.scores[0].value == pytest.approx(sum(values) / 2) and line.seconds == pytest.approx(58.2)


def test_no_best_is_marked_with_one_seed(one_seed):
    card = summarise(one_seed).scorecard
    assert not any(any(x.best) for x in card.lines)
    assert "sampling only" in card.to_table().note


def only(run, *names):
    """The run without its other families."""
    rows = tuple(r for r in run.rows if r.run in (*names, "data"))
    cells = tuple(c for c in run.record.cells if c.run in names)
    return replace(run, rows=rows, record=run.record.model_copy(update={"cells": cells}))


def test_a_suite_of_one_preference_family_has_a_verdict(run, one_seed):
    """What `drlbench new reward` runs: there is no front to be ahead of, and no DRL."""
    for source, how in ((run, "settled over seeds"), (one_seed, "beyond sampling noise in this run")):
        found = only(source, "base", "base+prl")
        (told,) = [s.text for s in summarise(found).leads() if s.topic == "verdict"]
        gains = [
            preference_gain(found, "small", "base+prl", w, "none", "taste").estimate.value
            for w in found.lambdas("small", "base+prl")
        ]
        assert f"base+prl (lambda 0.25 to 4) moves its reward taste by {min(gains):+.2f} to {max(gains):+.2f}" in told
        assert f"up at 3 and DOWN at 0 of 3 lambdas {how}" in told and "held-out FD (base over run) is" in told
    assert not summarise(only(run, "base", "sft")).leads()


def test_a_clear_winner_is_marked_and_an_overlap_is_not(tmp_path):
    """Three seeds each: far apart the lower FD is best, with overlapping seeds nobody is."""

    def made(values):
        at = ("none", 1.0, 0.0, 1.0, "x", "fd")
        rows, draws = [], {}
        for name, seeds in values.items():
            for i, v in enumerate(seeds):
                rows.append(Row("s", "b", name, "", "", None, f"{i}.0", *at, v, v - 0.01, v + 0.01, 9, "lower", "sig"))
                draws[f"b/{name}/seed={i}.0|none|x|fd"] = v + 0.005 * (np.arange(201) / 100 - 1)
        record = RunRecord(schema=SCHEMA, spaces=(Space(name="x"),))
        return scorecard(RunData(tmp_path, tuple(rows), record, {}, draws), "none", ())

    clear = made({"base": [5.0, 5.1, 4.9], "sft": [4.0, 4.02, 3.98]})
    assert [x.best for x in clear.lines] == [(False,), (True,)]
    close = made({"base": [5.0, 5.4, 4.6], "sft": [4.8, 5.2, 4.4]})
    assert [x.best for x in close.lines] == [(False,), (False,)]


def test_the_verdict_is_one_sentence_and_never_stronger_than_its_seeds(run, one_seed):
    for found, words in ((run, "over seeds"), (one_seed, "in this run")):
        summary = summarise(found)
        verdicts = [s.text for s in summary.headline if s.topic == "verdict"]
        assert len(verdicts) == 1 and words in verdicts[0] and not re.search(r"\. [A-Z]", verdicts[0])
        told = " ".join(s.text for s in summary.headline)
        assert "at every FD both reach" not in told, "the attainment probability left the headline"
    assert "sampling only" in verdicts[0] and "probability over seeds" not in verdicts[0]
    distances = [s.text for s in summarise(one_seed).headline if s.topic == "distance" and "against base" in s.text]
    assert distances and all("sampling only" in t for t in distances)
    assert not any(re.search(r"\b(lowers|RAISES)\b", t) for t in distances)


def test_the_terminal_s_table_and_the_page_say_the_same(run):
    card = summarise(run).scorecard
    table = card.to_table()
    assert table.header[:2] == ("backbone", "run") and len(table.rows) == len(card.lines)
    assert all(math.isfinite(e.value) for e in card.lines[0].scores)


def test_a_lead_that_a_seed_may_turn_round_is_none(run, one_seed):
    """Two machines with opposite leads inside their intervals are told the same."""

    def said(found, difference):
        contests = [
            replace(c, volume=replace(c.volume, difference=difference))
            for c in summarise(found).contests
            if (c.first, c.second) == ("drl+prl", "base+prl")
        ]
        return next(verdict(found, "none", contests, [])).text.partition("; on")[0]

    for found, n in ((run, 2), (one_seed, 1)):
        plus = Estimate(0.1, -0.05, 0.25, -0.4, 0.6, n)
        minus = Estimate(-0.1, -0.25, 0.05, -0.6, 0.4, n)
        assert said(found, plus) == said(found, minus)
        assert "no lead" in said(found, plus)
        clear = said(found, Estimate(0.1, 0.05, 0.15, 0.02, 0.18, n))
        assert "is ahead of preference RL alone (base+prl)" in clear
        assert ("settled over seeds" if n > 1 else "beyond sampling noise in this run") in clear
        lost = said(found, Estimate(-0.1, -0.15, -0.05, -0.18, -0.02, n))
        assert "is BEHIND preference RL alone (base+prl)" in lost
    # Clear of sampling noise, but not of the seeds.
    assert "no lead settled over seeds" in said(run, Estimate(0.1, 0.05, 0.15, -0.4, 0.6, 2))


def test_the_caution_says_where_only_a_space_that_was_trained_on_got_worse(run):
    """A reader who is told that drl is better and that it hacks must see that the two are of different spaces."""
    signs = summarise(run).hacking
    row = next(h for h in signs if h.run == "drl" and h.backbone == "small" and h.signs)
    held = [d for d in row.distances if d.held_out]
    better, worse = (replace(held[0].estimate, value=v, low=v - 0.1, high=v + 0.1) for v in (1.5, 0.7))
    seen = replace(held[0], space="own", held_out=False, estimate=worse)

    def told(*distances):
        changed = replace(row, held_out=(), distances=distances, signs=("FD in own rises",))
        return next(s.text for s in verdict(run, "none", [], [changed]) if s.topic == "caution")

    assert "(only in own, not held out)" in told(replace(held[0], estimate=better), seen)
    assert "not held out" not in told(replace(held[0], estimate=worse), seen)
