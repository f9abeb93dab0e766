import math
from dataclasses import replace

import pytest

from drlbench.errors import IntegrityError, MissingPrerequisite, UserError
from drlbench.report.results import (
    COLUMNS,
    Row,
    check_whole,
    csv_text,
    number,
    read_results,
    shield,
    unshield,
    write_results,
)
from drlbench.report.rundata import CellKey, read_run

ROW = Row(
    "s", "b", "drl", "disc", "am", 1.0, "0.1", "none", 1.0, 0.0, 1.0, "x", "fd", 0.1 + 0.2, None, 0.4, 7, "lower", "sig"
)


def test_columns_are_the_contract():
    assert ",".join(COLUMNS) == (
        "suite,backbone,run,reward,algorithm,lambda,seed,guidance,cfg,cfg_low,cfg_high,space,metric,value,low,high,n,"
        "better,signature,policy"
    )


@pytest.mark.parametrize("value", [0.1 + 0.2, 1e-300, -9.4, 5e15 + 1, 1 / 3, 0.0, 123456789.0, float("inf")])
def test_numbers_read_back_bit_for_bit(value, tmp_path):
    write_results(tmp_path / "r.csv", [replace(ROW, value=value)])
    assert read_results(tmp_path / "r.csv")[0].value == value
    assert float(number(value)) == value


def test_rows_round_trip_and_bytes_repeat(run_dir, tmp_path):
    rows = read_results(run_dir / "results.csv")
    write_results(tmp_path / "again.csv", rows)
    assert (tmp_path / "again.csv").read_bytes() == (run_dir / "results.csv").read_bytes()
    assert rows[0].low is not None and len(rows) > 1000


def test_nan_is_kept_and_missing_is_none(tmp_path):
    write_results(tmp_path / "r.csv", [replace(ROW, value=math.nan, lambda_=None)])
    back = read_results(tmp_path / "r.csv")[0]
    assert math.isnan(back.value) and back.low is None and back.lambda_ is None


@pytest.mark.parametrize(
    "text", ["=cmd()", "+1", "-x", "@a", "'=x", "''+y", "plain", "'quoted'", "", "\tz", 'a,b\n"c"']
)
def test_text_cells_are_shielded_and_come_back(text, tmp_path):
    assert unshield(shield(text)) == text
    assert not shield(text).startswith(("=", "+", "-", "@", "\t", "\r"))
    write_results(tmp_path / "r.csv", [replace(ROW, suite=text, signature=text)])
    back = read_results(tmp_path / "r.csv")[0]
    assert (back.suite, back.signature) == (text, text)


def test_csv_text_writes_booleans_and_nothing():
    assert csv_text(["a", "=b"], [[True, None], [2.0, "-x"]]) == "a,'=b\ntrue,\n2,'-x\n"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("metric,value", "metrik,value", "column 'metric' is missing.*did you mean 'metrik'"),
        ("suite,backbone", "backbone,suite", "not in the order"),
        ("0.30000000000000004", "zero", r":2: column value: 'zero' is not a number"),
        ("0.30000000000000004", "", r"column value: empty"),
        (",7,lower", ",7,smaller", "'smaller' is not one of lower, higher, closer"),
        (",7,lower,sig", ",7,lower", "19 cells where 20"),
    ],
)
def test_a_broken_file_is_named_with_line_and_column(old, new, message, tmp_path):
    path = tmp_path / "r.csv"
    write_results(path, [ROW])
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(UserError, match=message):
        read_results(path)


def test_missing_and_broken_folders(tmp_path):
    with pytest.raises(MissingPrerequisite, match="no such folder"):
        read_run(tmp_path / "nowhere")
    with pytest.raises(MissingPrerequisite, match=r"run\.json: not found"):
        read_run(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(IntegrityError, match="is not JSON"):
        read_run(tmp_path)
    (tmp_path / "run.json").write_text('{"schema": 1}')
    write_results(tmp_path / "results.csv", [ROW])
    (tmp_path / "replicates.npz").write_bytes(b"not a zip")
    with pytest.raises(IntegrityError, match=r"replicates.npz: cannot be read"):
        read_run(tmp_path)


def test_a_run_answers_questions(run_dir):
    run = read_run(run_dir)
    assert run.runs == ("base", "sft", "drl", "base+prl", "drl+prl", "combined")
    assert run.spaces == ("classifier", "contrastive", "pixels")
    assert run.rewards == ("disc", "taste", "judge") and run.drifts == ("brightness", "contrast")
    cell = CellKey("small", "drl", 0.5, "0.1")
    assert cell.id == "small/drl/lambda=0.5/seed=0.1"
    assert run.base_of(cell) == CellKey("small", "base", None, "0.0")
    assert run.lambdas("small", "base") == (None,) and run.lambdas("small", "drl") == (0.5, 1.0, 2.0)
    values, draws, cells = run.sample(run.seeds("small", "drl", 0.5), "none", "classifier", "fd")
    assert values.shape == (2,) and draws.shape == (2, 200) and cells[1] == cell
    assert run.held_out_space("classifier") and not run.held_out_space("pixels")
    assert run.is_preference("taste") and not run.is_preference("disc")


def test_a_cut_file_and_an_edited_one_are_refused(tmp_path):
    path = tmp_path / "r.csv"
    written = write_results(path, [replace(ROW, value=float(i), signature=f"s{i}") for i in range(5)])
    whole = path.read_bytes()
    assert written.rows == 5
    check_whole(path, written)
    lines = whole.splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-2]))
    with pytest.raises(IntegrityError, match=r"r\.csv: was cut or damaged: 3 rows where the run wrote 5"):
        check_whole(path, written)
    path.write_bytes(whole.replace(b",2,", b",inf,"))
    with pytest.raises(IntegrityError, match=r"r\.csv: was edited or damaged: not what the run wrote"):
        check_whole(path, written)
    for end in (1, 3, len(lines[-1]) - 1):
        path.write_bytes(whole[:-end])
        with pytest.raises(IntegrityError, match="its last line does not end"):
            read_results(path)
