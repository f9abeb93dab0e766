import csv
import html
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import pytest
from made_runs import make_run
from matplotlib.figure import Figure

import drlbench.report
from drlbench.report.build import build_report
from drlbench.report.figures import draw_figures, pictures
from drlbench.report.figures.paper import draw_paper_figures
from drlbench.report.figures.samples import sample_grids
from drlbench.report.figures.style import RC, log_ticks
from drlbench.report.fronts import FRONTIER_COLUMNS
from drlbench.report.results import COLUMNS
from drlbench.report.rundata import read_run

MADE = ("table.csv", "table.md", "frontier.csv", "summary.json", "report.html")


@pytest.fixture(scope="module")
def small_run(tmp_path_factory):
    """One backbone without guidance, to keep drawing quick."""
    path = make_run(tmp_path_factory.mktemp("build") / "run", names={"title": "</script><img src=x onerror=alert(2)>"})
    lines = (path / "results.csv").read_text().splitlines(keepends=True)
    (path / "results.csv").write_text("".join(li for li in lines if ",large," not in li and ",cfg1.5," not in li))
    return path


@pytest.fixture(scope="module")
def built(small_run):
    build_report(small_run)
    return small_run


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_two_reports_from_the_same_results_are_byte_identical(built, tmp_path):
    before = contents(built)
    again = shutil.copytree(built, tmp_path / "run")
    for name in MADE:
        (again / name).unlink()
    shutil.rmtree(again / "figures")
    code = "import sys; from pathlib import Path; from drlbench.report.build import build_report; "
    code += "build_report(Path(sys.argv[1])); bad = {m.split('.')[0] for m in sys.modules} & {'torch', 'torchvision'}; "
    code += "print(bad); sys.exit(bool(bad))"
    done = subprocess.run([sys.executable, "-c", code, str(again)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    after = contents(again)
    assert before.keys() == after.keys()
    assert [name for name in before if before[name] != after[name]] == []


def test_every_file_of_the_contract_is_written(built):
    for name in MADE:
        assert (built / name).stat().st_size > 0
    with (built / "frontier.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == FRONTIER_COLUMNS
    assert ",".join(FRONTIER_COLUMNS) == "backbone,run,lambda,seed,guidance,x_metric,x_space,x,y_metric,y,on_front"
    assert {r["on_front"] for r in rows} == {"true", "false"}
    assert {p.name for p in (built / "figures").iterdir()} == {"fd_ratio.svg", "fd_lambda.svg"}, "the page's own"
    summary = json.loads((built / "summary.json").read_text())
    assert summary["headline"] and summary["volumes"] and summary["contests"]


def test_figures_of_many_processes_are_those_of_one(built, tmp_path):
    for name, workers in (("one", 1), ("two", 2)):
        draw_figures(read_run(built), tmp_path / name, workers)
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / n).iterdir()} for n in ("one", "two"))
    assert len(one) >= 24 and one == two


def test_every_figure_is_drawn_in_three_formats_without_date(built, tmp_path):
    draw_figures(read_run(built), tmp_path)
    names = {p.stem for p in tmp_path.glob("*.svg")}
    assert {"fd_ratio", "fd_lambda", "precision_coverage", "preference_gain", "training", "frontier_held_out"} <= names
    assert {"frontier_fd_taste", "frontier_drift_judge"} <= names
    for stem in names:
        assert (tmp_path / f"{stem}.png").is_file() and (tmp_path / f"{stem}.pdf").is_file()
    assert (tmp_path / "fd_ratio.svg").read_bytes() == (built / "figures" / "fd_ratio.svg").read_bytes()
    assert "<dc:date>" not in (tmp_path / "fd_ratio.svg").read_text()
    assert b"CreationDate" not in (tmp_path / "fd_ratio.pdf").read_bytes()


def test_the_page_is_one_small_file_without_network(built):
    page = (built / "report.html").read_text()
    assert len(page.encode()) < 1_400_000
    outside = re.sub(r"<script.*?</script>|<style.*?</style>", "", page, flags=re.S)
    assert not re.search(r"""(?:src|href)=["'](?!data:|#)""", outside)
    policy = html.unescape(re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1])
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert "drlbench run suites/made-up.yaml" in page
    assert "sourceMappingURL" not in page


def test_given_text_never_becomes_markup(hostile_dir):
    from drlbench.report.html import render
    from drlbench.report.summary import summarise

    run = read_run(hostile_dir)
    page = render(run, summarise(run), {})
    assert page.count("<script>alert(1)") == 0 and "<img src=x" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page and "=cmd()" in page
    island = page.split('id="data">')[1].split("</script>")[0]
    assert "<" not in island and any("alert(1)" in r for r in json.loads(island)["order"])


def test_a_partial_run_reports_what_it_has(small_run, tmp_path):
    copy = shutil.copytree(small_run, tmp_path / "run")
    (copy / "replicates.npz").unlink()
    (copy / "curves.json").unlink()
    shutil.rmtree(copy / "samples")
    meta = json.loads((copy / "run.json").read_text())
    meta["status"] = "interrupted"
    meta["cells"][3].update(status="failed", error="CUDA out of memory <b>")
    (copy / "run.json").write_text(json.dumps(meta))
    lines = (copy / "results.csv").read_text().splitlines(keepends=True)
    kept = [li for li in lines if ",base," in li or ",drl,disc" in li or li is lines[0]]
    (copy / "results.csv").write_text("".join(kept[:400]))
    summary = build_report(copy)
    page = (copy / "report.html").read_text()
    assert summary.headline[0].text.startswith("The run is interrupted: 1 of")
    assert "CUDA out of memory &lt;b&gt;" in page and "kept no training curves" in page


def test_an_empty_run_still_makes_a_page(run_dir, tmp_path):
    copy = shutil.copytree(run_dir, tmp_path / "run")
    (copy / "results.csv").write_text(",".join(COLUMNS) + "\n")
    build_report(copy)
    assert "No cell of this run has a result yet." in (copy / "report.html").read_text()


@pytest.mark.long
def test_paper_figures_say_what_is_lacking(built, tmp_path):
    found = draw_paper_figures(read_run(built), tmp_path)
    lacking = {lack.numbers: lack.suite for lack in found.lacking}
    assert lacking["13"] == "suites/paper/integrator.yaml" and lacking["2"] == "suites/paper/toy_shift.yaml"
    assert {"5", "6", "7", "9", "17, 18", "19"}.isdisjoint(lacking)
    assert "figure 11" in (tmp_path / "index.md").read_text()
    assert (tmp_path / "published_05.svg").is_file()


def test_figures_of_a_run_without_what_they_need(run_dir, tmp_path):
    """Only base rows: no ratio, no sweep, no frontier of families, and no error."""
    copy = shutil.copytree(run_dir, tmp_path / "run")
    lines = (copy / "results.csv").read_text().splitlines(keepends=True)
    (copy / "results.csv").write_text("".join(li for li in lines if ",base," in li or li is lines[0]))
    with mpl.rc_context(RC):
        names = {p.name for p in pictures(read_run(copy))}
    assert "samples_small" in names and "fd_ratio" not in names and "fd_lambda" not in names


def test_rows_of_sample_grids_carry_the_names_of_their_classes(run_dir):
    run = read_run(run_dir)
    named = replace(run, record=run.record.model_copy(update={"classes": ("tench", "a very long name of a class")}))
    for source, first in ((run, ["0", "1", "2"]), (named, ["tench", "a very long name of …", "2"])):
        panels = sample_grids(source, "none")[0].figure.axes
        written = [t.get_text() for t in panels[0].texts]
        assert written[:3] == first and len(written) == 10
        assert not panels[1].texts, "once a line of grids"


def test_the_package_imports_nothing_it_must_not():
    root = Path(drlbench.report.__file__).parents[1]
    banned = re.compile(
        r"drlbench\.(?:backbones|rewards|finetune|features|metrics(?!\.(?:signature|bootstrap))|encoders|sampling|pipeline)"
        r"|^import torch",
        re.M,
    )
    for folder in ("report", "frontier"):
        for path in (root / folder).rglob("*.py"):
            assert not banned.search(path.read_text()), path


def test_panels_side_by_side_take_the_width_of_the_page(built):
    page = (built / "report.html").read_text()
    found = re.findall(r'<figure [^>]*?( class="wide")?><img [^>]*alt="([^"]+)"', page)
    wide = {caption: bool(mark) for mark, caption in found}
    assert wide["FD in each feature space against the weight of the reward"], "three spaces, three panels"
    assert not wide["FD of the base divided by FD of each run, one dot per run and feature space, with intervals"]


def test_a_logarithmic_axis_has_numbers_and_no_formulas() -> None:
    axes = Figure().add_subplot()
    axes.set_xscale("log")
    axes.set_xlim(0.7, 30)
    log_ticks(axes.xaxis)
    axes.figure.draw_without_rendering()
    assert [t.get_text() for t in axes.get_xticklabels() if 0.7 <= t.get_position()[0] <= 30] == [
        "1", "2", "5", "10", "20",
    ]  # fmt: skip
