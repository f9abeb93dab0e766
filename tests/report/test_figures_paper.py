"""The figures of the paper's own suites: what they show is what the run recorded, and nothing is mixed up."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from paper_runs import SPACES, cell, floor, row, write_run
from PIL import Image

from drlbench.report.figures import ablation, guidance, integrator, student, toy
from drlbench.report.figures.paper import CATALOGUE, draw_paper_figures
from drlbench.report.figures.style import PNG_DPI, RC, save
from drlbench.report.rundata import RunData
from drlbench.suite.load import load_suite

ROOT = Path(__file__).resolve().parents[2]
SUITES = sorted(
    {e.suite for e in CATALOGUE} | {p.relative_to(ROOT).as_posix() for p in ROOT.glob("suites/paper/*.yaml")}
)
DISC = {"kind": "discriminator", "held_out": False}


def texts(picture) -> str:
    """Everything a picture says."""
    figure = picture.figure
    said = [t.get_text() for axes in figure.axes for t in (*axes.texts, axes.title, axes.xaxis.label, axes.yaxis.label)]
    said += [axes.get_title(loc="left") for axes in figure.axes] + [t.get_text() for t in figure.texts]
    said += [t.get_text() for axes in figure.axes for t in (*axes.get_xticklabels(), *axes.get_yticklabels())]
    return " | ".join([*said, figure.get_supxlabel()])


def lines_of(axes) -> list[tuple[list[float], list[float]]]:
    return [([*line.get_xdata()], [*line.get_ydata()]) for line in axes.lines]


@pytest.mark.parametrize("suite", SUITES)
def test_every_suite_a_figure_names_exists_and_is_valid(suite):
    loaded = load_suite(ROOT / suite)
    assert loaded.spec.title


@pytest.fixture
def integrators(tmp_path) -> RunData:
    base = cell("base", None)
    arms = [cell(f"{i}-{k}", settings={"integrator": i, "steps": k}) for i in ("local-linear", "euler") for k in (2, 4)]
    curves = {}
    for n, c in enumerate(arms):
        k = c["settings"]["steps"]
        t = [j / k for j in range(k + 1)]
        norms = [8.0 + n] * (k + 1)
        series = {f"{p}{s}": norms for p in ("", "base_") for s in ("norm", "ode")}
        series |= {f"{p}norm/error": [0.1] * (k + 1) for p in ("", "base_")}
        reward = {"reward": [-2.0, -1.0 - n], "reward_gradient": [90.0, 99.0]}
        curves[c["id"]] = [
            {"round": 1, "kind": "finetune", "step": [1, 2], "series": reward},
            {"round": 2, "kind": "finetune", "step": [1, 2], "series": reward},
            {"round": 0, "kind": "trajectory", "step": t, "series": series},
        ]
    rows = [row(c, s, "fd", 3.0 + n) for n, c in enumerate([base, *arms]) for s in SPACES]
    return write_run(tmp_path / "run", [base, *arms], rows, curves=curves)


def test_norms_are_drawn_per_steps_and_model_with_the_ode_beside_them(integrators):
    (picture,) = integrator.trajectory_norms(integrators)
    assert len(picture.figure.axes) == 4  # base and after training, K 2 and 4
    assert {"base, K = 2", "base, K = 4", "after training, K = 2"} <= {
        a.get_title(loc="left") for a in picture.figure.axes
    }
    drawn = lines_of(picture.figure.axes[0])
    assert ([0.0, 0.5, 1.0], [8.0, 8.0, 8.0]) in drawn and ([0.0, 0.5, 1.0], [10.0, 10.0, 10.0]) in drawn
    assert "local-linear" in texts(picture) and "ODE" in texts(picture)
    assert len(picture.figure.axes[0].collections) == 2  # the intervals


def test_the_training_reward_is_the_reward_and_rounds_follow_one_another(integrators):
    (picture,) = integrator.training_reward(integrators)
    values = [y for axes in picture.figure.axes for _, ys in lines_of(axes) for y in ys]
    assert values and max(values) < 0  # not the norm of its gradient, which is 99
    assert lines_of(picture.figure.axes[0])[0][0] == [1.0, 2.0, 3.0, 4.0]


def test_fd_by_steps_has_intervals_and_the_base(integrators):
    (picture,) = integrator.by_steps(integrators, "none")
    drawn = lines_of(picture.figure.axes[0])
    assert any(y == [4.0, 5.0] for _, y in drawn) and any(y == [3.0, 3.0] for _, y in drawn)
    assert any(np.allclose(y, [3.8, 4.2], atol=0.02) for _, y in drawn)  # 4 +- 5 %


def test_one_integrator_makes_no_comparison(integrators, tmp_path):
    cells = [c.model_dump(by_alias=True) for c in integrators.record.cells if "euler" not in c.run]
    rows = [r for r in integrators.rows if "euler" not in r.run]
    one = write_run(tmp_path / "one", cells, rows, curves=dict(integrators.parts))
    for draw in (integrator.trajectory_norms, integrator.training_reward):
        assert draw(one) == []
    assert integrator.by_steps(one, "none") == []


@pytest.fixture
def ablations(tmp_path) -> RunData:
    """Two encoders; one of them with three weights of R1, and another head at a weight that is already there."""
    base = cell("base", None)
    made = [("dae", "dae", 0.02), ("other", "clf", 0.02), ("dae-0", "dae", 0.0), ("dae-2", "dae", 2.0)]
    made += [("dae-mlp", "dae", 0.02)]
    rewards = [{"name": n, "encoders": [e], "report": {"r1": w}, **DISC} for n, e, w in made]
    arms = [cell(f"drl-{n}", optimised=[n]) for n, _, _ in made]
    rows = [row(c, s, "fd", 2.0 + i) for i, c in enumerate([base, *arms]) for s in SPACES]
    return write_run(tmp_path / "run", [base, *arms], rows, rewards)


def test_r1_compares_weights_of_one_encoder_only(ablations):
    assert ablation._r1_arms(ablations) == [(0.0, "drl-dae-0"), (0.02, "drl-dae"), (2.0, "drl-dae-2")]
    (picture,) = ablation.by_r1(ablations, "none")
    assert ([0.0, 0.02, 2.0], [5.0, 3.0, 6.0]) in lines_of(picture.figure.axes[0])
    assert "through dae" in texts(picture)


def test_an_encoder_is_shown_by_the_first_run_that_looks_through_it(ablations):
    (picture,) = ablation.by_encoder(ablations, "none")
    said = texts(picture)
    assert "3 | " in said and "4 | " in said and "7" not in said.replace("3.7", "")  # dae, clf, not dae-mlp
    assert "1.9 to 2.1" in said or "1.91 to 2.09" in said


def test_guidance_has_a_row_per_interval_and_its_intervals(tmp_path):
    base, drl = cell("base", None), cell("drl", optimised=["drl"])
    scales = [("none", 1.0), ("a", 1.5), ("b", 2.0)]
    rows = [row(c, s, "fd", 2.0 + g[1], g) for c in (base, drl) for s in SPACES for g in scales]
    run = write_run(tmp_path / "run", [base, drl], rows, [{"name": "drl", **DISC}])
    (picture,) = guidance.fd_against_scale(run)
    assert len(picture.figure.axes) == len(SPACES)
    assert ([1.0, 1.5, 2.0], [3.0, 3.5, 4.0]) in lines_of(picture.figure.axes[0])
    assert "guided in t [0, 1]" in texts(picture)
    assert guidance.reward_against_scale(run) == []


def test_what_a_student_keeps_of_its_teachers_gain(tmp_path):
    base, drl, sft = cell("base", None), cell("drl"), cell("sft", None)
    taught = cell("student", None, teacher=drl["id"])
    fds = {"base": 4.0, "drl": 1.0, "sft": 3.5, "student": 2.0}
    cells = [base, drl, sft, taught]
    rows = [row(c, s, "fd", fds[c["run"]]) for c in cells for s in SPACES] + [floor("pixels", 0.5)]
    run = write_run(tmp_path / "run", cells, rows)
    (picture,) = student.student_of_teacher(run, "none")
    said = texts(picture)
    assert "drl (teacher)" in said and "student (student)" in said and "sft (control)" in said
    assert "classifier 50%, pixels 50%" in said
    assert student.distillation_gap(run, "none") == []


def test_the_gap_of_a_distillation_stands_beside_its_floor(tmp_path):
    base, drl = cell("base", None), cell("drl")
    rows = [row(c, s, "fd", v) for c, v in ((base, 4.0), (drl, 2.0)) for s in SPACES] + [floor("pixels", 0.5)]
    run = write_run(tmp_path / "run", [base, drl], rows, teacher="a large model")
    (picture,) = student.distillation_gap(run, "none")
    assert any(x == [0.5, 0.5] for x, _ in lines_of(picture.figure.axes[1]))
    assert "a large model" in texts(picture) and "drl λ=1" in texts(picture)


def test_off_the_data_is_farther_than_its_own_neighbours():
    data = np.stack([np.linspace(-1, 1, 201), np.zeros(201)], 1)  # neighbours 0.01 apart
    points = np.array([[0.0, 0.005], [0.0, 0.02], [1.2, 0.0]])
    assert toy.off_data(points, data).tolist() == [False, True, True]


@pytest.fixture
def toys(tmp_path) -> RunData:
    rng = np.random.default_rng(0)
    cells = [cell("base", None), cell("sft", None)]
    cells += [cell(n, w, optimised=["right"]) for n in ("base+prl", "drl+prl") for w in (1.0, 2.0)]
    rows = [row(c, "pixels", "fd", 1.0) for c in cells] + [row(c, "", "right", 2.0) for c in cells]
    run = write_run(tmp_path / "run", cells, rows, [{"name": "right", "kind": "direction", "held_out": False}])
    points = {f"{c['id']}|none": rng.integers(0, 255, (60, 2), dtype=np.uint8) for c in cells}
    points["data|none"] = rng.integers(100, 155, (80, 2), dtype=np.uint8)
    np.savez(run.path / "points.npz", **points)
    return run


def test_toys_show_every_model_and_say_how_much_is_off(toys):
    dense, against = toy.shift(toys)
    titles = [a.get_title(loc="left") for a in dense.figure.axes]
    assert titles[0].startswith("data") and any(re.match(r"drl\+prl λ=2: [\d.]+% ± [\d.]+% off", t) for t in titles)
    data = toy.read_points(toys)["data|none"]
    off = toy.off_data(toy.read_points(toys)["net/base+prl/lambda=1/seed=0.0|none"], data).mean()
    half = 1.96 * (off * (1 - off) / 60) ** 0.5
    assert f"base+prl λ=1: {off:.1%} ± {half:.1%} off" in titles
    assert any(np.isclose(y[0], off) for _, y in lines_of(against.figure.axes[0]))
    assert [p.name for p in toy.geometry(toys)] == ["toy_geometry"]
    (toys.path / "points.npz").unlink()
    assert toy.geometry(toys) == []


def test_figures_repeat_byte_for_byte(toys, integrators, tmp_path):
    def all_bytes(folder: Path) -> dict[str, bytes]:
        with mpl.rc_context(RC):
            for p in (
                *toy.shift(toys),
                *integrator.trajectory_norms(integrators),
                *integrator.by_steps(integrators, "none"),
            ):
                save(p, folder)
        return {p.name: p.read_bytes() for p in folder.iterdir()}

    first, again = all_bytes(tmp_path / "1"), all_bytes(tmp_path / "2")
    assert len(first) == 12 and first == again


def test_a_png_has_the_resolution_its_labels_were_laid_out_for(integrators, tmp_path):
    with mpl.rc_context(RC):
        (picture,) = integrator.by_steps(integrators, "none")
        width = picture.figure.get_figwidth()
        png = next(p for p in save(picture, tmp_path) if p.suffix == ".png")
    with Image.open(png) as image:
        assert image.width == int(width * PNG_DPI)


@pytest.mark.long
def test_a_run_of_integrators_has_their_figures_and_names_the_suites_of_the_others(integrators, tmp_path):
    found = draw_paper_figures(integrators, tmp_path)
    assert {d.split()[1] for d in found.drawn} >= {"13", "15", "16"}
    for lack in found.lacking:
        assert (ROOT / lack.suite).is_file() and lack.suite in str(lack) and lack.twin in str(lack)
