import csv
import json
import re
import shutil

import pytest

import drlbench
from drlbench.report.html_runs import render_leaderboard
from drlbench.report.leaderboard import measured_as, rankings, write_leaderboard


@pytest.fixture(scope="module")
def two(run_dir, tmp_path_factory):
    """A run, a copy with FD half as large, and in the copy another encoder behind `classifier`."""
    root = tmp_path_factory.mktemp("board")
    shutil.copytree(run_dir, root / "first")
    copy = shutil.copytree(run_dir, root / "second")
    lines = []
    for line in (copy / "results.csv").read_text().splitlines():
        cells = line.split(",")
        if cells[12] == "fd":
            cells[13:16] = [repr(float(v) / 2) for v in cells[13:16]]
            cells[18] = cells[18].replace("sig-fd-classifier", "other")
        lines.append(",".join(cells))
    (copy / "results.csv").write_text("\n".join(lines) + "\n")
    return root


def test_what_was_measured_alike_is_ranked_together_and_nothing_else(two):
    found = {(r.space, r.measured): r for r in rankings(drlbench.load_run(two))}
    assert {k[1] for k in found if k[0] == "classifier"} == {"sig-fd-classifier", "other"}
    pixels = found["pixels", "sig-fd-pixels"]
    assert {e.folder for e in pixels.entries} == {"first", "second"}
    values = [e.fd.value for e in pixels.entries]
    assert values == sorted(values) and pixels.entries[0].folder == "second"
    run = drlbench.load_run(two / "first").runs[0]
    one = next(e for e in pixels.entries if (e.folder, e.backbone, e.run, e.lambda_) == ("first", "small", "drl", 1.0))
    values = [run.row(c, one.guidance, "pixels", "fd").value for c in run.seeds("small", "drl", 1.0)]
    assert one.fd.value == pytest.approx(sum(values) / 2) and one.fd.n_seeds == 2


def test_the_sampler_competes_and_does_not_divide():
    first = "fd|enc:a|ref:b|sampler:heun50-seed0|n:100|v:drlbench-1"
    assert measured_as(first) == measured_as(first.replace("heun50", "euler20-cfg1.5[0,1]"))
    assert measured_as(first) != measured_as(first.replace("enc:a", "enc:c"))
    assert measured_as("an older signature") == "an older signature"


def test_published_numbers_stand_beside_runs_on_the_paper_s_data_only(two, tmp_path):
    assert not any(e.printed for r in rankings(drlbench.load_run(two)) for e in r.entries)
    copy = shutil.copytree(two / "first", tmp_path / "imagenet")
    record = json.loads((copy / "run.json").read_text()) | {"classes": [str(i) for i in range(1000)]}
    record["spaces"][0]["name"] = "dinov2-l"
    (copy / "run.json").write_text(json.dumps(record))
    (copy / "results.csv").write_text((copy / "results.csv").read_text().replace(",classifier,", ",dinov2-l,"))
    (ranking,) = [r for r in rankings(drlbench.load_run(copy)) if r.space == "dinov2-l"]
    printed = [e for e in ranking.entries if e.printed]
    assert "241.93" in {e.printed for e in printed} and {e.backbone for e in printed} == {"SiT"}
    assert ranking.to_table().rows[-1][-1] == "published"


def test_the_page_and_the_file(two, hostile_dir, tmp_path):
    write_leaderboard(drlbench.load_run(two), tmp_path)
    with (tmp_path / "leaderboard.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 3 * 2 * 14 * 2 and rows[0]["rank"] == "1"
    page = (tmp_path / "leaderboard.html").read_text()
    outside = re.sub(r"<script.*?</script>|<style.*?</style>", "", page, flags=re.S)
    assert "default-src &#39;none&#39;" in page and not re.search(r"""(?:src|href)=["'](?!data:|#)""", outside)
    hostile = drlbench.load_run(hostile_dir)
    assert "<script>alert" not in render_leaderboard(hostile, rankings(hostile))


def test_rivals_stand_beside_the_same_backbone_in_inceptions_space_only(two, tmp_path):
    copy = shutil.copytree(two / "first", tmp_path / "imagenet")
    record = json.loads((copy / "run.json").read_text()) | {"classes": [str(i) for i in range(1000)]}
    record["spaces"][0]["name"] = "inception"
    (copy / "run.json").write_text(json.dumps(record))
    (copy / "results.csv").write_text((copy / "results.csv").read_text().replace(",classifier,", ",inception,"))
    printed = {r.space: {(e.folder, e.backbone, e.run, e.guidance, e.printed) for e in r.entries if e.printed}
               for r in rankings(drlbench.load_run(copy))}  # fmt: skip
    cafm = {
        ("arXiv:2604.11521v1", "SiT", "cafm", "none", "3.63"),
        ("arXiv:2604.11521v1", "SiT", "cafm", "guided", "1.53"),
    }
    assert {e for e in printed["inception"] if e[2] in ("cafm", "ddo", "fd-loss")} == cafm
    assert not any(e[2] == "cafm" for e in printed["pixels"])
