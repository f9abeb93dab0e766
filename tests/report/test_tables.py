import csv
import io

import pytest

from drlbench.report.paper_tables import paper_table, published_table
from drlbench.report.published import baselines_folder, comparable, normal, published
from drlbench.report.rundata import RunData, read_run
from drlbench.report.tables import Table, honest_table, printed_table


def test_published_tables_hold_every_printed_digit():
    """Every value of published.csv comes out of its table with the digits as printed, in the right row and column."""
    with (baselines_folder() / "published.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 848
    seen = 0
    for number in "2345":
        table = published_table(number)
        cells = {tuple(r[:4]): dict(zip(table.header, r, strict=True)) for r in table.rows}
        for r in (r for r in rows if r["table"] == number):
            printed = cells[r["backbone"], r["feature_space"], r["method"], r["setting"]][r["metric"]]
            assert printed == (f"{r['value']} ± {r['stderr']}" if r["stderr"] else r["value"])
            seen += 1
        for value in (r["value"] for r in rows if r["table"] == number):
            assert value.replace("-", "-") in table.to_csv() and value in table.to_latex().replace("$-$", "-")
    assert seen == 848


def test_a_few_printed_numbers_by_hand():
    rows = {tuple(r[:4]): r for r in published_table("2").rows}
    assert rows["RAE", "DINOv2-L", "drl_best_lambda", "no_cfg"][4:10] == (
        "10",
        "1",
        "[0,1]",
        "20.60",
        "33.88",
        "9.31 ± 0.20",
    )
    assert rows["REPA", "Inception", "base", "no_cfg"][7] == "6.48"


def test_the_honest_table_is_one_checkpoint_a_row(run_dir):
    run = read_run(run_dir)
    table = honest_table(run)
    rows = [dict(zip(table.header, r, strict=True)) for r in table.rows]
    assert len(rows) == 2 * 2 * (1 + 1 + 3 * 4) + 1
    one = next(
        r for r in rows if (r["backbone"], r["run"], r["lambda"], r["guidance"]) == ("small", "drl", 1.0, "none")
    )
    values = [run.row(c, "none", "classifier", "fd").value for c in run.seeds("small", "drl", 1.0)]
    assert one["n_seeds"] == 2 and one["optimised"] == "disc"
    assert one["fd@classifier (held out)"] == pytest.approx(sum(values) / 2)
    assert one["fd@classifier (held out) seed_sd"] == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
    assert one["fd@classifier (held out) low"] < one["fd@classifier (held out)"] < one["fd@classifier (held out) high"]
    assert "fd@pixels (optimised)" in table.header and "judge (held out)" in table.header
    assert rows[-1]["run"] == "data" and rows[-1]["fd@classifier (held out)"] == 0.4


def test_formats_escape_what_they_are_given():
    table = Table("a_b|<x>", ("=h", "50%"), (("=cmd()", 1.5), ("x|y_<script>", None)), "n&m")
    assert list(csv.reader(io.StringIO(table.to_csv())))[1] == ["'=cmd()", "1.5"]
    markdown = table.to_markdown()
    assert r"x\|y\_\<script\>" in markdown and "<script>" not in markdown
    latex = table.to_latex()
    assert r"50\%" in latex and r"n\&m" in latex and r"\textless{}script\textgreater{}" in latex


def test_paper_layout_from_a_run(run_dir):
    run = read_run(run_dir)
    table = paper_table(run, "2")
    rows = [dict(zip(table.header, r, strict=True)) for r in table.rows]
    assert [r["method"] for r in rows[:3]] == ["base", "drl_lambda1", "drl_best_lambda"]
    best = next(
        r for r in rows if (r["backbone"], r["feature_space"], r["method"]) == ("small", "pixels", "drl_best_lambda")
    )
    fds = {v: _mean(run, "small", v) for v in (0.5, 1.0, 2.0)}
    assert best["lambda"] == min(fds, key=fds.get) and best["fd"] == pytest.approx(min(fds.values()))
    assert "fd (paper)" not in table.header and "1000 classes" in table.note
    assert paper_table(run, "3") is not None and paper_table(run, "4") is not None
    assert paper_table(run, "5") is None


def _mean(run, backbone, lambda_):
    values = [run.row(c, "none", "pixels", "fd").value for c in run.seeds(backbone, "drl", lambda_)]
    return sum(values) / len(values)


def test_imagenet_runs_stand_beside_the_printed_numbers(run_dir):
    run = read_run(run_dir)
    rows = tuple(_renamed(r) for r in run.rows)
    spaces = [s.model_copy(update={"name": "dinov2_large"}) if s.name == "classifier" else s for s in run.record.spaces]
    record = run.record.model_copy(update={"classes": tuple(map(str, range(1000))), "spaces": tuple(spaces)})
    imagenet = RunData(run.path, rows, record, run.parts, {})
    assert comparable(imagenet) and not comparable(run)
    table = paper_table(imagenet, "2")
    rows = [dict(zip(table.header, r, strict=True)) for r in table.rows]
    one = next(r for r in rows if (r["feature_space"], r["method"]) == ("dinov2_large", "base"))
    printed = next(
        p for p in published() if (p.table, p.backbone, p.feature_space, p.method) == ("2", "SiT", "DINOv2-L", "base")
    )
    assert one["fd (paper)"] == printed.value == "241.93"


def _renamed(row):
    from dataclasses import replace

    return replace(row, space="dinov2_large") if row.space == "classifier" else row


def test_names_match_however_they_are_written():
    assert normal("DINOv2-L") == normal("dinov2_large") == "dinov2l"
    assert normal("Inception-v3") == normal("inception")
    assert normal("aesthetic_v25") == normal("Aesthetic v2.5")


def test_the_printed_table_marks_held_out_columns(run_dir):
    table = printed_table(read_run(run_dir), "none")
    assert "FD classifier†" in table.header and "FD pixels" in table.header and "judge†" in table.header
    assert table.rows[0][4].count("±") == 1 and table.rows[-1][1] == "real images"
