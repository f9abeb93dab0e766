"""Every figure of a run as SVG, PDF and PNG (matplotlib's Agg, no display, no torch); no number is made here."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import matplotlib as mpl

from drlbench.report.figures import algorithms, capacity, fd, frontier, preference, samples, training
from drlbench.report.figures.many import Task, draw_all
from drlbench.report.figures.style import RC, Picture, svg
from drlbench.report.rundata import RunData
from drlbench.report.summary import plain_guidance


def tasks(run: RunData) -> list[Task]:
    """Every figure the results can make, without guidance; a task draws one or a few of them."""
    guidance = plain_guidance(run)
    return [
        *_of_the_page(run, guidance),
        partial(fd.precision_coverage, run, guidance),
        partial(preference.gains, run, guidance),
        *(partial(frontier.draw, run, guidance, *subject) for subject in frontier.subjects(run)),
        partial(training.training_curves, run),
        partial(samples.sample_grids, run, guidance),
    ]


def pictures(run: RunData) -> list[Picture]:
    """The pictures of every task, drawn but not written."""
    return [p for task in tasks(run) for p in task()]


def _of_the_page(run: RunData, guidance: str) -> list[Task]:
    return [
        partial(fd.fd_ratios, run, guidance),
        partial(fd.against_lambda, run, guidance),
        partial(algorithms.algorithms, run, guidance),
        partial(capacity.by_capacity, run, guidance),
    ]


def page_figures(run: RunData) -> dict[str, tuple[str, str]]:
    """The few figures the page shows, as SVG alone: name -> (caption, SVG text)."""
    with mpl.rc_context(RC):
        found = [p for task in _of_the_page(run, plain_guidance(run)) for p in task()]
        return {p.name: (p.caption, svg(p)) for p in found}


def draw_figures(run: RunData, folder: Path, workers: int | None = None) -> tuple[Path, ...]:
    """Write every figure the results can make into `folder`; returns the paths. `workers`: see `draw_all`."""
    return tuple(path for paths in draw_all(run, tasks, folder, workers) for path in paths)
