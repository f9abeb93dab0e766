"""Every figure of a run as SVG, PDF and PNG (matplotlib's Agg, no display, no torch)."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

from drlbench.report.figures import algorithms, fd, frontier, preference, samples, training
from drlbench.report.figures.style import RC, Picture, save, svg
from drlbench.report.rundata import RunData
from drlbench.report.summary import plain_guidance


def pictures(run: RunData) -> list[Picture]:
    """Every figure the results can make, without guidance."""
    guidance = plain_guidance(run)
    return [
        *_of_the_page(run, guidance),
        *fd.precision_coverage(run, guidance),
        *preference.gains(run, guidance),
        *frontier.frontiers(run, guidance),
        *training.training_curves(run),
        *samples.sample_grids(run, guidance),
    ]


def _of_the_page(run: RunData, guidance: str) -> list[Picture]:
    return [
        *fd.fd_ratios(run, guidance),
        *fd.against_lambda(run, guidance),
        *algorithms.algorithms(run, guidance),
    ]


def page_figures(run: RunData) -> dict[str, tuple[str, str]]:
    """The few figures the page shows, as SVG alone: name -> (caption, SVG text)."""
    with mpl.rc_context(RC):
        found = _of_the_page(run, plain_guidance(run))
        return {p.name: (p.caption, svg(p)) for p in found}


def draw_figures(run: RunData, folder: Path) -> tuple[Path, ...]:
    """Write every figure the results can make into `folder`; returns the paths."""
    with mpl.rc_context(RC):
        return tuple(path for p in pictures(run) for path in save(p, folder))
