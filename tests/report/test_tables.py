import csv
import io
from dataclasses import replace

import pytest
from made_runs import STATS
from paper_runs import SPACES, cell, row, write_run

from drlbench.report.figures.frontier import subjects
from drlbench.report.fronts import axes
from drlbench.report.paper_tables import as_printed, paper_table, statistics_table
from drlbench.report.published import baselines_folder, comparable, normal, published
from drlbench.report.rundata import RunData, read_run
from drlbench.report.tables import Table, honest_table, printed_table


def test_every_printed_number_is_read_with_its_digits():
    """Every value of published.csv, digits untouched."""
    with (baselines_folder() / "published.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 848
    for r, p in zip(rows, published(), strict=True):
        assert as_printed(p) == (f"{r['value']} ± {r['stderr']}" if r["stderr"] else r["value"])


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


def test_statistics_by_the_papers_protocol_where_they_were_measured(run_dir):
    run = read_run(run_dir)
    assert statistics_table(run) is None, "other images' statistics are not the protocol's"
    twins = [replace(r, metric=f"{r.metric}_subset", value=r.value + 1, n=30) for r in run.rows if r.metric in STATS]
    both = RunData(run.path, (*run.rows, *twins), run.record, run.parts, {})
    table = statistics_table(both)
    assert table.header == ("backbone", "run", "lambda", *STATS) and "30 images" in table.note
    assert len(table.rows) == 2 * (1 + 1 + 3 * 4) + 1
    one = next(r for r in table.rows if r[:3] == ("small", "drl", 1.0))
    values = [run.row(c, "none", "", "contrast").value for c in run.seeds("small", "drl", 1.0)]
    assert one[4] == pytest.approx(sum(values) / 2 + 1)
    assert table.rows[-1][1:] == ("real images", None, *(run.best("", m) + 1 for m in STATS))
    drawn = {name: {x.key for x, _ in pairs} for name, _, pairs in subjects(both)}["frontier_drift_judge"]
    assert drawn == {*(f"{m}_subset_drift" for m in STATS), "kl_nats", "velocity_norm_ratio_drift"}
    assert {x.key for x, _ in axes(both)} > {f"{m}_drift" for m in STATS} | drawn, "the page offers both"


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


def test_the_printed_table_says_what_was_attained_and_calls_no_share_the_best(run_dir):
    run = read_run(run_dir)
    shares = [
        replace(
            r,
            metric="attainable_share",
            space="",
            value=0.1 * r.lambda_,
            low=0.1 * r.lambda_ - 0.2,
            high=0.1 * r.lambda_ + 0.2,
            better="higher",
        )
        for r in run.rows
        if (r.run, r.metric, r.space) == ("drl", "fd", run.spaces[0])
    ]
    assert "share attained" not in printed_table(run, "none").header
    table = printed_table(replace(run, rows=[*run.rows, *shares]), "none")
    told = [(row[1], row[2], row[table.header.index("share attained")]) for row in table.rows]
    own = [(float(at), [float(v) for v in text.split(" ± ")]) for name, at, text in told if name == "drl"]
    assert own and all(numbers == pytest.approx([0.1 * at, 0.2]) for at, numbers in own)
    assert not any(text for name, _, text in told if name != "drl")


def test_lambda_1_is_the_family_without_r1_and_the_best_is_over_both(tmp_path):
    """As in the paper's Table 2, whose lambda 1 has no R1."""
    fds = {
        ("base", None): (9.0, 9.0),
        ("drl", 1.0): (4.0, 5.0),
        ("drl", 10.0): (6.0, 2.0),
        ("drl-r1-0", 1.0): (3.0, 7.0),
    }
    cells = [cell(n, v, optimised=[n] if n != "base" else []) for n, v in fds]
    rows = [
        row(c, s, "fd", f)
        for c, pair in zip(cells, fds.values(), strict=True)
        for s, f in zip(SPACES, pair, strict=True)
    ]
    rewards = [
        {"name": n, "kind": "discriminator", "encoders": ["dinov2-l"], "held_out": False, "report": {"r1": r1}}
        for n, r1 in (("drl", 1e-5), ("drl-r1-0", 0.0))
    ]
    table = paper_table(write_run(tmp_path / "run", cells, rows, rewards), "2")
    found = {(r[1], r[2]): (r[4], r[5], r[7]) for r in table.rows}
    assert found["classifier", "drl_lambda1"] == ("drl-r1-0", 1.0, 3.0) == found["classifier", "drl_best_lambda"]
    assert found["pixels", "drl_lambda1"] == ("drl-r1-0", 1.0, 7.0)
    assert found["pixels", "drl_best_lambda"] == ("drl", 10.0, 2.0)
