import shutil

import numpy as np
import pytest
from made_runs import make_run

from drlbench.errors import UserError
from drlbench.report.compare import compare, significant


@pytest.fixture(scope="module")
def shifted(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("compare") / "shifted", shift=0.4)


def test_a_run_against_itself_changes_nothing(run_dir):
    found = compare(run_dir, run_dir)
    assert not found.regressed
    assert {c.verdict for c in found.changes} == {"same"}
    assert all(c.change.value == 0 and c.paired for c in found.changes)
    assert "no regression" in found.to_text()


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
    assert "REGRESSED" in found.to_text()
    back = compare(shifted, run_dir)
    assert not back.regressed and any(c.verdict == "better" for c in back.changes)


def test_a_baseline_file_is_enough(run_dir, shifted, tmp_path):
    shutil.copy(run_dir / "results.csv", tmp_path / "pinned.csv")
    found = compare(shifted, baseline=tmp_path / "pinned.csv")
    assert found.old == "pinned.csv" and found.regressed
    assert not any(c.paired for c in found.changes)
    assert {c.metric for c in found.changes if c.verdict == "worse"} == {"fd", "fd_val"}


def test_missing_cells_are_named_not_counted(run_dir, tmp_path):
    smaller = shutil.copytree(run_dir, tmp_path / "smaller")
    lines = (smaller / "results.csv").read_text().splitlines(keepends=True)
    (smaller / "results.csv").write_text("".join(li for li in lines if ",combined," not in li))
    found = compare(run_dir, smaller)
    missing = {c.run for c in found.changes if c.verdict == "missing"}
    assert missing == {"combined"} and not found.regressed


def test_nothing_in_common_is_an_error(run_dir, tmp_path):
    other = shutil.copytree(run_dir, tmp_path / "other")
    text = (other / "results.csv").read_text().replace(",small,", ",tiny,").replace(",large,", ",huge,")
    (other / "results.csv").write_text(text)
    with pytest.raises(UserError, match="no number in common"):
        compare(run_dir, other)
    with pytest.raises(UserError, match="two runs, or one run and --baseline"):
        compare(run_dir)


def test_html_and_csv_hold_every_worse_number(run_dir, hostile_dir, shifted):
    found = compare(run_dir, shifted)
    worse = sum(c.verdict == "worse" for c in found.changes)
    assert found.to_html().count('class="flag"') == worse
    assert found.to_csv().count(",worse\n") == worse
    page = compare(hostile_dir, hostile_dir).to_html()
    assert "<script" not in page


def test_benjamini_hochberg_on_a_worked_case():
    p = np.array([0.001, 0.008, 0.039, 0.041, 0.042, 0.06, 0.074, 0.205, 0.212, 0.216, np.nan])
    assert significant(p).tolist() == [True, True] + [False] * 9
    assert not significant(np.empty(0)).any()
