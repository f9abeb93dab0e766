import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from made_runs import make_run
from typer.testing import CliRunner

from drlbench.cli.main import app
from drlbench.errors import UserError
from drlbench.report.compare import compare
from drlbench.report.compare_text import summary, to_csv
from drlbench.report.html_runs import render_comparison
from drlbench.report.significance import pooled, significant


@pytest.fixture(scope="module")
def shifted(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("compare") / "shifted", shift=0.4)


def test_a_run_against_itself_changes_nothing(run_dir):
    found = compare(run_dir, run_dir)
    assert not found.regressed
    assert {c.verdict for c in found.changes} == {"same"}
    assert all(c.change.value == 0 and c.paired for c in found.changes)
    assert summary(found).endswith("no regression\n")


def test_a_run_with_other_samples_does_not_regress(run_dir, tmp_path):
    """Same truth, other noise: hundreds of numbers and no false alarm beyond the stated rate."""
    again = make_run(tmp_path / "again", seed=3)
    found = compare(run_dir, again)
    base = [c for c in found.changes if c.run == "base"]
    assert len(base) > 100 and not any(c.verdict == "worse" for c in base)


def test_a_raised_fd_regresses_and_only_fd(run_dir, shifted):
    found = compare(run_dir, shifted)
    worse = [c for c in found.changes if c.verdict == "worse"]
    assert found.regressed and len(worse) > 100
    assert {c.metric for c in worse} == {"fd", "fd_val"}
    one = next(c for c in worse if (c.run, c.metric, c.space) == ("drl", "fd", "classifier"))
    assert one.effect == pytest.approx(-0.4, abs=0.02) and one.change.low > 0 and one.change.n_seeds == 2
    assert summary(found).endswith("REGRESSED\n") and len(summary(found).splitlines()) <= 10
    back = compare(shifted, run_dir)
    assert not back.regressed and any(c.verdict == "better" for c in back.changes)


def test_a_longer_velocity_has_changed_and_is_no_regression(run_dir, tmp_path):
    longer = shutil.copytree(run_dir, tmp_path / "longer")
    (longer / "results.csv").write_text(
        re.sub(r"(velocity_norm_ratio),[^,]*,[^,]*,[^,]*", r"\1,1.5,1.499,1.501", (run_dir / "results.csv").read_text())
    )
    found = compare(run_dir, longer)
    assert not found.regressed
    assert {c.metric for c in found.changes if c.verdict == "changed"} == {"velocity_norm_ratio"}


def test_a_baseline_file_is_enough(run_dir, shifted, tmp_path):
    shutil.copy(run_dir / "results.csv", tmp_path / "pinned.csv")
    found = compare(shifted, baseline=tmp_path / "pinned.csv")
    assert found.old == "pinned.csv" and found.regressed
    assert not any(c.paired for c in found.changes)
    assert {c.metric for c in found.changes if c.verdict == "worse"} == {"fd", "fd_val"}


def edited(run_dir, path, change, record=lambda r: r):
    """A copy of a run whose lines of results.csv went through `change` (None drops one)."""
    copy = shutil.copytree(run_dir, path)
    lines = (copy / "results.csv").read_text().splitlines(keepends=True)
    (copy / "results.csv").write_text("".join(x for line in lines if (x := change(line)) is not None))
    (copy / "run.json").write_text(json.dumps(record(json.loads((copy / "run.json").read_text()))))
    return copy


def test_a_vanished_number_fails_and_a_cell_that_was_never_planned_does_not(run_dir, tmp_path):
    def without(line):
        return None if ",combined," in line else line

    def unplanned(record):
        return {**record, "cells": [c for c in record["cells"] if c["run"] != "combined"]}

    found = compare(run_dir, edited(run_dir, tmp_path / "vanished", without))
    lost = [c for c in found.changes if c.verdict == "lost"]
    assert {c.run for c in lost} == {"combined"} and found.regressed
    assert all("has no such number any more" in c.why and np.isfinite(c.old) for c in lost)
    found = compare(run_dir, edited(run_dir, tmp_path / "unplanned", without, unplanned))
    assert {c.run for c in found.changes if c.verdict == "gone"} == {"combined"} and not found.regressed


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_a_number_that_became_no_number_fails_with_the_reason(value, run_dir, tmp_path):
    def change(line):
        cells = line.split(",")
        if (cells[1], cells[2], cells[6], cells[7], cells[12]) == ("small", "sft", "0.0", "none", "fd"):
            cells[13:16] = [value] * 3
        return ",".join(cells)

    found = compare(run_dir, edited(run_dir, tmp_path / "run", change))
    lost = [c for c in found.changes if c.verdict == "lost"]
    assert len(lost) == 3 and found.regressed and {c.metric for c in lost} == {"fd"}
    assert all(c.why.startswith("seed 0.0 was ") and c.why.endswith(f"is {value}") for c in lost)
    assert f"is {value}" in summary(found)


def test_numbers_seen_through_other_weights_leave_the_verdict(run_dir, shifted, tmp_path):
    def change(line):
        return line.replace("sig-fd-", "other-fd-")

    def encoder(record):
        record["spaces"][0]["signature"] = "another"
        return {**record, "versions": {**record["versions"], "python": "3.13"}}

    found = compare(run_dir, edited(shifted, tmp_path / "run", change, encoder))
    apart = {c.metric for c in found.changes if c.verdict == "not comparable"}
    assert apart == {"fd"} and {c.metric for c in found.changes if c.verdict == "worse"} == {"fd_val"}
    assert "python 3.12 → 3.13" in summary(found) and "other content: encoder classifier" in summary(found)


def test_one_seed_alone_must_move_far(run_dir, tmp_path):
    """With one seed a change of a fifth may be another seed's luck; tripled it is not."""

    def one_seed(factor):
        def change(line):
            cells = line.split(",")
            if cells[6] == "0.1":
                return None
            if cells[12] == "fd" and cells[2] == "sft":
                cells[13:16] = [repr(factor * float(v)) for v in cells[13:16]]
            return ",".join(cells)

        return edited(run_dir, tmp_path / f"x{factor}", change)

    old = one_seed(1.0)
    assert not compare(old, one_seed(1.2)).regressed
    found = compare(old, one_seed(3.0))
    assert found.regressed and "One seed" in summary(found)


def test_filters_choose_what_is_judged(run_dir, shifted):
    assert not compare(run_dir, shifted, metrics="recall, coverage").regressed
    found = compare(run_dir, shifted, cells=("small/sft/*",))
    assert {(c.backbone, c.run) for c in found.changes} == {("small", "sft")} and found.regressed
    with pytest.raises(UserError, match=r"neither run has 'recal'.*did you mean 'recall'"):
        compare(run_dir, shifted, metrics="recal")


def test_the_spread_of_seeds_is_pooled_over_families():
    rng = np.random.default_rng(0)
    found = pooled([rng.normal(0.3, 0.1, size=2) for _ in range(200)])
    assert found.freedom == 200 and found.sd == pytest.approx(0.1, rel=0.15)
    assert pooled([np.array([0.2]), np.array([0.1])]) is None


def test_where_nothing_can_be_compared_nothing_is_said_to_be_well(run_dir, tmp_path):
    """Other samples: 412 numbers that are not comparable ended `no regression`."""
    other = edited(run_dir, tmp_path / "run", lambda line: line.replace("sig-", "other-"))
    found = compare(run_dir, other)
    told = "no verdict: no number of the two can be compared ("
    assert set(found.counts) == {"not comparable"} and summary(found).splitlines()[-1].startswith(told)
    assert f"<h2>{told}" in render_comparison(found)
    gate = ["compare", str(run_dir), str(other), "--fail-on", "regress"]
    assert CliRunner().invoke(app, gate).exit_code == 3, "a gate that compared nothing does not pass"


def test_nothing_in_common_is_an_error(run_dir, tmp_path):
    other = shutil.copytree(run_dir, tmp_path / "other")
    text = (other / "results.csv").read_text().replace(",small,", ",tiny,").replace(",large,", ",huge,")
    (other / "results.csv").write_text(text)
    (other / "run.json").write_text(
        (other / "run.json").read_text().replace('"small/', '"tiny/').replace('"large/', '"huge/')
    )
    with pytest.raises(UserError, match=r"no number in common: they hold small/base.*\(seeds 0.0, .*and tiny/base"):
        compare(run_dir, other)
    with pytest.raises(UserError, match="two runs, or one run and --baseline"):
        compare(run_dir)


def test_html_and_csv_hold_every_worse_number(run_dir, hostile_dir, shifted):
    found = compare(run_dir, shifted)
    worse = sum(c.verdict == "worse" for c in found.changes)
    assert render_comparison(found).count('class="flag"') == worse
    assert to_csv(found).count(",worse,") == worse
    page = render_comparison(compare(hostile_dir, hostile_dir))
    assert "<script" not in page and page.count("data:image/") == 48
    named = render_comparison(found)
    assert named.count('<li title="0">0</li>') == named.count("data:image/") > 0, "rows of grids have their classes"


def test_benjamini_hochberg_on_a_worked_case():
    p = np.array([0.001, 0.008, 0.039, 0.041, 0.042, 0.06, 0.074, 0.205, 0.212, 0.216, np.nan])
    assert significant(p).tolist() == [True, True] + [False] * 9
    assert not significant(np.empty(0)).any()


def test_the_action_runs_the_verb_with_options_it_has(run_dir, shifted, tmp_path):
    """The shell of .github/actions/compare, run as the action runs it, with a `drlbench` on its path."""
    root = Path(__file__).parents[2]
    action = yaml.safe_load((root / ".github/actions/compare/action.yml").read_text())
    step = action["runs"]["steps"][0]
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "drlbench").write_text(f'#!/bin/sh\nexec {sys.executable} -m drlbench "$@"\n')
    (tmp_path / "bin" / "drlbench").chmod(0o755)
    made = {"GITHUB_STEP_SUMMARY": tmp_path / "summary.md", "GITHUB_OUTPUT": tmp_path / "output"}
    given = {"OLD": run_dir, "NEW": shifted, "METRICS": "fd", "CELLS": "small/sft/*"}
    path = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(root)}
    env = {**os.environ, **path, **{k: str(v) for k, v in (made | given).items()}}
    assert set(step["env"]) == set(given)
    subprocess.run(["bash", "-c", step["run"]], cwd=tmp_path, env=env, check=True)
    assert made["GITHUB_OUTPUT"].read_text() == "code=3\n"
    assert "REGRESSED" in made["GITHUB_STEP_SUMMARY"].read_text() and (tmp_path / "compare/compare.html").is_file()
