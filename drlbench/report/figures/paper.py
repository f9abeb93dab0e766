"""`drlbench figures --paper`: the paper's figure list redrawn from a run, and a plain word on what is lacking.

Figures are named by the paper's numbers (`paper_05_fd_ratio`). Where a run is on ImageNet and the paper printed the
number, the printed point is drawn over it as an open black star; figures 5, 6, 7 and 11 are also drawn from the
printed numbers alone (`published_*`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from drlbench.report.figures import (
    ablation,
    fd,
    frontier,
    guidance,
    integrator,
    preference,
    printed,
    samples,
    student,
    toy,
)
from drlbench.report.figures.many import Task, draw_all
from drlbench.report.figures.style import Picture, file_name
from drlbench.report.published import normal, paper_backbone, published
from drlbench.report.rundata import RunData
from drlbench.report.summary import best_guidance, plain_guidance
from drlbench.store import atomic

Draw = Callable[[RunData], list[Picture]]
MAIN, DIGITS = "suites/imagenet256.yaml", "suites/digits.yaml"


@dataclass(frozen=True)
class Entry:
    """One line of the paper's figure list."""

    numbers: str
    title: str
    needs: str
    suite: str
    draw: Draw
    twin: str = ""  # the same on digits, for a CPU


@dataclass(frozen=True)
class Lack:
    """A figure the results cannot make: what it needs, and the suites that make it."""

    numbers: str
    title: str
    needs: str
    suite: str
    twin: str

    def __str__(self) -> str:
        twin = f", on digits by {self.twin}" if self.twin else ""
        return f"figure {self.numbers} ({self.title}): needs {self.needs}; made by {self.suite}{twin}"


@dataclass(frozen=True)
class PaperFigures:
    """What `draw_paper_figures` wrote, and what it could not."""

    paths: tuple[Path, ...]
    drawn: tuple[str, ...]
    lacking: tuple[Lack, ...]


def _five(run: RunData) -> list[Picture]:
    found = fd.fd_ratios(run, plain_guidance(run))
    best = best_guidance(run)
    guided = fd.fd_ratios(run, best) if best else []
    return [_overlay_ratios(run, p, "2", "no_cfg") for p in found] + [
        replace(_overlay_ratios(run, p, "3", "best_cfg"), name=f"{p.name}_guided") for p in guided
    ]


def _overlay_ratios(run: RunData, picture: Picture, table: str, setting: str) -> Picture:
    """Put the printed FD ratio at the best lambda over a run's own dots."""
    for axes, backbone in zip(picture.figure.axes, run.backbones, strict=False):
        name = paper_backbone(run, backbone)
        families = [n for n in run.runs if n != "base"]
        for s, space in enumerate(run.spaces):
            printed_space = next((p.feature_space for p in published() if normal(p.feature_space) == normal(space)), "")
            if name and printed_space and "drl" in families:
                at = (table, setting, name, printed_space)
                base, after = (printed.printed_value(*at, m, "fd") for m in ("base", "drl_best_lambda"))
                y = -(s * (len(families) + 1) + families.index("drl"))
                axes.plot([base / after], [y], "*", color="black", mfc="none", ms=9)
    return picture


def _plain(draw: Callable[[RunData, str], list[Picture]]) -> Draw:
    return lambda run: draw(run, plain_guidance(run))


def _only(prefix: str, draw: Draw) -> Draw:
    return lambda run: [p for p in draw(run) if p.name.startswith(prefix)]


def _every_guidance(run: RunData) -> list[Picture]:
    guided = [g for g in run.guidances if g != plain_guidance(run)]
    return [replace(p, name=f"{p.name}_{file_name(g)}") for g in guided for p in frontier.frontiers(run, g)]


def _integrator_samples(run: RunData) -> list[Picture]:
    compared = any(integrator.integrators(run, b) for b in run.backbones)
    return samples.sample_grids(run, plain_guidance(run)) if compared else []


CATALOGUE = (
    Entry("1, 26-29", "samples before and after", "sample grids of base and drl", MAIN, _plain(samples.sample_grids),
          DIGITS),
    Entry("2", "distribution-shift toy", "its own toy run", "suites/paper/toy_shift.yaml", toy.shift),
    Entry("3", "geometry toy", "its own toy run", "suites/paper/toy_geometry.yaml", toy.geometry),
    Entry("4", "SD 1.5 distillation gap", "data that are a teacher's samples", "suites/paper/distillation.yaml",
          _plain(student.distillation_gap), "suites/paper/digits-distillation.yaml"),
    Entry("5", "FD ratio per model and space", "base and drl measured in a feature space", MAIN, _five, DIGITS),
    Entry("6", "FD against lambda, precision and coverage", "drl at two or more lambdas", MAIN,
          lambda r: fd.against_lambda(r, plain_guidance(r)) + fd.precision_coverage(r, plain_guidance(r)), DIGITS),
    Entry("7", "preference gains", "a preference reward measured on base and drl", MAIN, _plain(preference.gains),
          DIGITS),
    Entry("8, 30-33", "same noise across lambda", "sample grids of drl at several lambdas", MAIN,
          _plain(samples.sample_grids), DIGITS),
    Entry("9", "preference against image statistics", "base+prl and drl+prl with image statistics", MAIN,
          _only("frontier_drift", _plain(frontier.frontiers)), DIGITS),
    Entry("10", "flow-matching student of a DRL teacher", "the student's run", "suites/paper/student.yaml",
          _plain(student.student_of_teacher), "suites/paper/digits-student.yaml"),
    Entry("11", "encoder of the discriminator", "drl with two or more discriminator encoders",
          "suites/paper/discriminator.yaml", _plain(ablation.by_encoder), "suites/paper/digits-discriminator.yaml"),
    Entry("13", "norm of X_t by integrator", "trajectory norms of two integrators", "suites/paper/integrator.yaml",
          integrator.trajectory_norms, "suites/paper/digits-integrator.yaml"),
    Entry("14", "samples by integrator", "sample grids of two integrators", "suites/paper/integrator.yaml",
          _integrator_samples, "suites/paper/digits-integrator.yaml"),
    Entry("15", "training reward by integrator", "training curves of two integrators", "suites/paper/integrator.yaml",
          integrator.training_reward, "suites/paper/digits-integrator.yaml"),
    Entry("16", "FD by number of steps", "two integrators at two or more K", "suites/paper/integrator.yaml",
          _plain(integrator.by_steps), "suites/paper/digits-integrator.yaml"),
    Entry("17, 18", "seven metrics against lambda", "drl at two or more lambdas", MAIN, _plain(fd.seven_metrics),
          DIGITS),
    Entry("19", "preference gain against lambda", "drl at two or more lambdas with a preference reward", MAIN,
          _plain(preference.gains_against_lambda), DIGITS),
    Entry("20-22", "frontiers over guidance and rewards", "preference runs under guidance", MAIN, _every_guidance),
    Entry("23", "R1 sweep", "drl with two or more weights of R1", "suites/paper/r1.yaml", _plain(ablation.by_r1),
          "suites/paper/digits-discriminator.yaml"),
    Entry("24", "reward against guidance scale", "three or more guidance scales", "suites/paper/guidance.yaml",
          guidance.reward_against_scale, "suites/paper/digits-guidance.yaml"),
    Entry("25", "FD against guidance scale", "three or more guidance scales", "suites/paper/guidance.yaml",
          guidance.fd_against_scale, "suites/paper/digits-guidance.yaml"),
    Entry("34-37", "more sample grids", "sample grids of preference runs", MAIN, _plain(samples.sample_grids), DIGITS),
)  # fmt: skip


def _entry(run: RunData, entry: Entry) -> list[Picture]:
    first = f"{int(entry.numbers.split(',')[0].split('-')[0]):02d}"
    return [replace(p, name=f"paper_{first}_{p.name}") for p in entry.draw(run)]


def _tasks(run: RunData) -> list[Task]:
    return [*(partial(_entry, run, entry) for entry in CATALOGUE), printed.all_printed]


def draw_paper_figures(run: RunData, folder: Path) -> PaperFigures:
    """Write every figure of the paper's list that the results support, and index.md saying what is lacking.

    Args:
        run: a run.
        folder: where `paper_*.{svg,pdf,png}`, `published_*.{svg,pdf,png}` and index.md go.
    """
    drawn: list[str] = []
    lacking: list[Lack] = []
    written = draw_all(run, _tasks, folder)
    for entry, paths in zip(CATALOGUE, written, strict=False):
        if paths:
            drawn.append(f"figure {entry.numbers} ({entry.title})")
        else:
            lacking.append(Lack(entry.numbers, entry.title, entry.needs, entry.suite, entry.twin))
    lines = ["# The paper's figures from this run", "", *(f"- {d}" for d in drawn)]
    lines += ["", "Lacking:", "", *(f"- {lack}" for lack in lacking)]
    atomic.write_text(folder / "index.md", "\n".join(lines) + "\n")
    return PaperFigures(tuple(path for paths in written for path in paths), tuple(drawn), tuple(lacking))
