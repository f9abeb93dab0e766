import dataclasses
import json
import re
import shutil

import numpy as np
import pytest
from made_runs import make_run

from drlbench.frontier.pareto import non_dominated
from drlbench.report.effects import fd_ratio, hacking_table, preference_gain, stop_marker
from drlbench.report.figures.fd import fd_ratios
from drlbench.report.figures.style import rendered
from drlbench.report.fronts import axes, front, frontier_rows
from drlbench.report.headline import control_of, headline_lambda
from drlbench.report.page_data import page_data
from drlbench.report.rundata import CellKey, read_run
from drlbench.report.summary import summarise


@pytest.fixture(scope="module")
def run(run_dir):
    return read_run(run_dir)


@pytest.fixture(scope="module")
def summary(run):
    return summarise(run)


def axis_pair(run, x, y):
    return next(p for p in axes(run) if (p[0].key, p[1].key) == (x, y))


def test_every_frontier_of_the_contract_is_there(run):
    keys = {(x.key, y.key) for x, y in axes(run)}
    for y in ("taste", "judge"):
        for x in ("fd@classifier", "fd@contrastive", "fd@pixels", "brightness_drift", "contrast_drift", "kl_nats"):
            assert (x, y) in keys
        assert ("velocity_norm_ratio_drift", y) in keys
    assert ("taste", "judge") in keys and ("judge", "taste") not in keys


def test_a_front_starts_where_its_preference_weighs_nothing(run):
    x, y = axis_pair(run, "fd@classifier", "taste")
    assert front(run, "small", "none", "base+prl", x, y).cells[0][0] == CellKey("small", "base", None, "0.0")
    assert front(run, "small", "none", "combined", x, y).cells[0][1] == CellKey("small", "drl", 1.0, "0.1")
    # Which of the three lambdas drl+prl was continued from is not said: no guess.
    assert front(run, "small", "none", "drl+prl", x, y).lambdas == (0.25, 1.0, 4.0)


def test_a_named_start_is_used(run_dir, tmp_path):
    copy = shutil.copytree(run_dir, tmp_path / "run")
    meta = json.loads((copy / "run.json").read_text())
    for cell in meta["cells"]:
        if cell["run"] == "drl+prl":
            cell["start"] = f"{cell['backbone']}/drl/lambda=1/seed={cell['seed']}"
    (copy / "run.json").write_text(json.dumps(meta))
    run = read_run(copy)
    x, y = axis_pair(run, "fd@classifier", "taste")
    assert front(run, "small", "none", "drl+prl", x, y).cells[0][0] == CellKey("small", "drl", 1.0, "0.0")


def test_drift_is_the_distance_from_the_real_images(run):
    x, y = axis_pair(run, "brightness_drift", "taste")
    f = front(run, "small", "none", "base+prl", x, y)
    data = run.data_row("", "brightness").value
    assert f.costs[0, 2, 0] == pytest.approx(abs(f.values[0, 2, 0] - data))
    assert f.costs[0, 2, 1] == -f.values[0, 2, 1]


def test_velocities_drift_by_the_distance_of_their_ratio_from_one(run):
    """On either side of 1, with the base itself at no distance; no image statistic, whose best is the real images'."""
    x, y = axis_pair(run, "velocity_norm_ratio_drift", "taste")
    f = front(run, "small", "none", "base+prl", x, y)
    np.testing.assert_allclose(f.costs[0, :, 0], abs(f.values[0, :, 0] - 1), rtol=1e-12)
    assert f.costs[0, 0, 0] == 0 and f.lambdas[0] is None
    drl = run.row(CellKey("small", "drl", 1.0, "0.0"), "none", "", "velocity_norm_ratio").value
    shown = [
        r[7]
        for r in frontier_rows(run)
        if (*r[:5], r[5], r[8]) == ("small", "drl", 1.0, "0.0", "none", x.name, "taste")
    ]
    assert drl < 1 and shown == [pytest.approx(1 - drl)]
    assert "velocity_norm_ratio" not in run.drifts


def test_the_page_offers_it_beside_the_kl(run, summary):
    data = page_data(run, summary)[0]
    assert [a["key"] for a in data["axes"] if a["kind"] == "kl"] == ["kl_nats", "velocity_norm_ratio_drift"]
    at = [a["key"] for a in data["axes"]].index("velocity_norm_ratio_drift")
    assert data["axes"][at]["better"] == "lower" and data["real"]["velocity_norm_ratio_drift"] == 0
    cells = {c["id"]: i for i, c in enumerate(data["cells"])}
    assert data["rows"][f"{cells['small/base/seed=0.0']}|none"][at] == [0, None, None, None]
    value, low, high, _ = data["rows"][f"{cells['small/drl/lambda=1/seed=0.0']}|none"][at]
    row = run.row(CellKey("small", "drl", 1.0, "0.0"), "none", "", "velocity_norm_ratio")
    assert [value, low, high] == pytest.approx([1 - row.value, 1 - row.high, 1 - row.low], rel=1e-4)


def test_seeds_without_every_point_do_not_count(run_dir, tmp_path):
    copy = shutil.copytree(run_dir, tmp_path / "run")
    lines = (copy / "results.csv").read_text().splitlines(keepends=True)
    gone = ",small,base+prl,taste,adjoint-matching,4,0.1,"
    (copy / "results.csv").write_text("".join(li for li in lines if gone not in li))
    run = read_run(copy)
    x, y = axis_pair(run, "fd@classifier", "taste")
    assert front(run, "small", "none", "base+prl", x, y).seeds == ("0.0",)
    assert front(run, "small", "none", "combined", x, y).seeds == ("0.0", "0.1")


def test_frontier_rows_mark_each_seeds_own_front(run):
    rows = [
        r
        for r in frontier_rows(run)
        if (r[0], r[4], r[5], r[6], r[8]) == ("small", "none", "fd", "classifier", "taste")
    ]
    for seed in ("0.0", "0.1"):
        own = [r for r in rows if r[3] == seed or r[1] == "base"]
        wins = non_dominated(np.array([[r[7], -r[9]] for r in own]))
        for row, won in zip(own, wins, strict=True):
            if row[1] != "base":
                assert row[10] == won
    assert not next(r for r in rows if r[1] == "base")[10]


def test_the_planted_truth_is_found(run, summary):
    """drl's planted gain in the classifier space is 2.8x; drl+prl's planted front is ahead of base+prl's."""
    ratio = fd_ratio(run, "small", "drl", 1.0, "none", "classifier")
    assert ratio.held_out and ratio.estimate.low < 2.8 < ratio.estimate.high * 1.05 and ratio.estimate.n_seeds == 2
    contest = next(
        c
        for c in summary.contests
        if (c.backbone, c.guidance, c.first, c.second, c.x.key, c.y.key)
        == ("small", "none", "drl+prl", "base+prl", "fd@classifier", "taste")
    )
    assert contest.volume.probability > 0.99 and contest.volume.difference.low > 0
    assert 0.5 < contest.volume.probability_seeds <= 1


def test_gains_are_in_sigma_of_the_base(run):
    """The replicates' sd is 0.02 at n = 2000, so sigma is 0.89 and the planted gain of 0.9 per lambda is about 1.0."""
    gain = preference_gain(run, "small", "base+prl", 1.0, "none", "taste")
    assert not gain.held_out and gain.estimate.value == pytest.approx(0.9 / (0.02 * 2000**0.5), rel=0.15)


def test_hacking_is_seen_where_it_was_planted(run):
    rows = [h for h in hacking_table(run, "none") if (h.backbone, h.run) == ("small", "base+prl")]
    assert rows[0].lambda_ == 0.25 and rows[-1].signs
    assert stop_marker(rows) in (None, 0.25, 1.0)
    drl = [h for h in hacking_table(run, "none") if (h.backbone, h.run) == ("small", "drl")]
    assert not drl[1].signs and "FD in pixels rises" in drl[2].signs


def test_the_headline_says_numbers_and_failures(summary, tmp_path):
    text = "\n".join(s.text for s in summary.headline)
    assert "lowers FD in the classifier space (not trained in)" in text and "2 seeds" in text and "sft control" in text
    assert "chosen on these same numbers" in text and "rises while FD in pixels rises" in text
    worse = summarise(read_run(_raised(tmp_path)))
    assert any("RAISES FD in the classifier space" in s.text for s in worse.headline)


def test_a_space_is_called_looked_through_only_by_runs_whose_own_reward_does(run):
    def said(data):
        return [
            s.text for s in summarise(data).headline if s.text.startswith("drl") and "FD in the pixels space" in s.text
        ]

    assert all("(its reward looks through it)" in text for text in said(run)) and said(run)
    cells = tuple(c.model_copy(update={"optimised": ()}) for c in run.record.cells)  # as DDO's, which have no reward
    without = dataclasses.replace(run, record=run.record.model_copy(update={"cells": cells}))
    assert all("(not held out: this suite trains through it)" in text for text in said(without)) and said(without)


def test_the_verdict_says_it_short_and_a_failure_as_loudly(summary, tmp_path):
    short = summary.in_short()
    ahead = "reference RL after drl (drl+prl) is ahead of preference RL alone (base+prl) in judge against FD"
    assert len(short) == 3 and f"{ahead}, in 2 of 2 held-out spaces" in short[0]
    # Twice two seeds; on small those of plain training differ too much to say that DRL is ahead of it.
    assert "divides held-out FD by" in short[1]
    assert re.findall(r"plain training [\d.x to]+, (measurably [^)]+)\)", short[1]) == [
        "measurably apart in none of 2",
        "measurably less in 2 of 2",
    ]
    assert short[2].startswith("Signs of reward hacking: on small")
    worse = summarise(read_run(_raised(tmp_path))).in_short()[1]
    assert "MULTIPLIES held-out FD by" in worse and "measurably MORE in 2 of 2" in worse, worse


def test_the_ratios_show_what_the_optimum_gains_where_it_starts_from_the_base(run):
    beside = [
        dataclasses.replace(r, metric="tilt_fd_gain", value=1.75)
        for r in run.rows
        if (r.backbone, r.run, r.guidance, r.metric) == ("small", "drl", "none", "fd")
    ]
    assert {r.space for r in beside} == set(run.spaces)
    for rows, count in ((run.rows, 0), ([*run.rows, *beside], len(run.spaces))):
        (picture,) = fd_ratios(dataclasses.replace(run, rows=rows), "none")
        axes = picture.figure.axes[run.backbones.index("small")]
        upright = [float(x) for line in axes.lines if line.get_marker() == "|" for x in line.get_xdata()]
        assert [x for x in upright if x == x] == [1.75] * count
        assert any("Upright line" in t.get_text() for t in picture.figure.texts) is bool(count)


def test_a_sentence_that_begins_with_a_runs_name_spells_it_as_the_suite_does(run):
    record = run.record.model_copy(update={"cells": tuple(c for c in run.record.cells if c.backbone == "small")})
    alone = dataclasses.replace(run, record=record, rows=[r for r in run.rows if r.backbone == "small"])
    verdict, drl = summarise(alone).in_short()[:2]
    assert verdict.startswith("Preference RL after drl") and drl.startswith("drl (lambda ")


def test_a_control_is_paired_with_the_cells_of_its_own_seeds(run):
    space = run.spaces[0]

    def fd(name, lambda_):
        return {c.seed: run.row(c, "none", space, "fd").value for c in run.seeds("small", name, lambda_)}

    drl, sft = fd("drl", 1.0), fd("sft", None)
    found = fd_ratio(run, "small", "drl", 1.0, "none", space, "sft").estimate
    both = sorted(drl.keys() & sft.keys())
    assert found.n_seeds == len(both) > 0
    assert found.value == pytest.approx(np.exp(np.mean([np.log(sft[s] / drl[s]) for s in both])))
    fewer = dataclasses.replace(run, rows=[r for r in run.rows if (r.run, r.seed) != ("sft", both[0])])
    assert fd_ratio(fewer, "small", "drl", 1.0, "none", space, "sft").estimate.n_seeds == len(both) - 1


def test_the_control_of_a_run_is_the_plain_training_matched_to_it(run):
    assert control_of(run, "drl") == "sft"
    of = next(c.id for c in run.record.cells if c.run == "drl")
    changed = {"algorithm": "sft", "matched": of}
    cells = tuple(c.model_copy(update=changed) if c.run == "combined" else c for c in run.record.cells)
    beside = dataclasses.replace(run, record=run.record.model_copy(update={"cells": cells}))
    assert control_of(beside, "drl") == "combined" and control_of(beside, "base+prl") == "sft"


def test_every_family_without_a_preference_has_its_ratios_in_the_verdict(run):
    assert "of the others" not in " ".join(summarise(run).in_short())
    cells = tuple(c.model_copy(update={"optimised": ("disc",)}) if c.run == "combined" else c for c in run.record.cells)
    more = dataclasses.replace(run, record=run.record.model_copy(update={"cells": cells}))
    told = next(text for text in summarise(more).in_short() if "divides" in text)
    lambda_ = headline_lambda(more, "small", "combined", "none")
    held = [s for s in more.spaces if more.held_out_space(s)]
    ratios = [fd_ratio(more, "small", "combined", lambda_, "none", s).estimate.value for s in held]
    assert f"of the others: combined (lambda {lambda_:g}) {min(ratios):.2f}x to {max(ratios):.2f}x" in told


def _raised(folder):
    """The same run with every drl cell's FD three times higher."""
    path = make_run(folder / "raised")
    lines = []
    for line in (path / "results.csv").read_text().splitlines():
        cells = line.split(",")
        if cells[2] == "drl" and cells[12] == "fd":
            cells[13:16] = [str(6 * float(v)) for v in cells[13:16]]
        lines.append(",".join(cells))
    (path / "results.csv").write_text("\n".join(lines) + "\n")
    with np.load(path / "replicates.npz") as old:
        draws = {k: old[k] * (6 if "/drl/" in k and k.endswith("|fd") else 1) for k in old.files}
    np.savez(path / "replicates.npz", **draws)
    return path


def test_summary_is_plain_json(summary):
    text = json.dumps(summary.to_json(), allow_nan=False)
    assert "reference_rule" in text and '"lambda_"' not in text


def test_a_preference_gain_is_in_the_standard_deviations_that_the_run_kept(run_dir, tmp_path):
    copy = shutil.copytree(run_dir, tmp_path / "run")
    meta = json.loads((copy / "run.json").read_text())
    before = preference_gain(read_run(copy), "small", "base+prl", 4.0, "none", "taste").estimate.value
    read_off = read_run(copy).draws(CellKey("small", "base", None, "0.0"), "none", "", "taste").std(ddof=1)
    meta["details"] = {"small/base/seed=0.0|none||taste": {"standard_deviation": 0.5}}
    (copy / "run.json").write_text(json.dumps(meta))
    after = preference_gain(read_run(copy), "small", "base+prl", 4.0, "none", "taste").estimate.value
    assert after == pytest.approx(before * read_off * np.sqrt(2000) / 0.5)


def test_the_chart_of_hacking_offers_every_family_of_its_table(run):
    found = summarise(run)
    offered = {(row["backbone"], row["run"]) for row in page_data(run, found)[0]["hacking"]}
    assert ("small", "drl") in offered, "not the preference families alone"
    assert offered == {(h.backbone, h.run) for h in found.hacking if h.lambda_ is not None}


def test_panels_of_ratios_have_one_range_and_no_font_is_missed(run, caplog):
    (picture,) = fd_ratios(run, "none")
    panels = picture.figure.axes
    assert len(panels) > 1 and len({panel.get_xlim() for panel in panels}) == 1
    rendered(picture.figure, "png")
    assert not [r for r in caplog.records if "findfont" in r.getMessage()]
