"""Every figure of a run as SVG, PDF and PNG (matplotlib's Agg, no display, no torch)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl

from drlbench.report.figures import algorithms, fd, frontier, preference, samples, training
from drlbench.report.figures.style import RC, Picture, save
from drlbench.report.rundata import RunData
from drlbench.report.summary import plain_guidance


@dataclass(frozen=True)
class Drawn:
    """Figures that were written: `captions` by SVG path, and which of them the page shows."""

    paths: tuple[Path, ...]
    shown: tuple[tuple[str, Path], ...]

    def inline(self) -> dict[str, str]:
        """SVG text by caption of the figures the page shows."""
        return {caption: path.read_text(encoding="utf-8") for caption, path in self.shown}


def pictures(run: RunData) -> list[Picture]:
    """Every figure the results can make, without guidance."""
    guidance = plain_guidance(run)
    return [
        *fd.fd_ratios(run, guidance),
        *fd.against_lambda(run, guidance),
        *fd.precision_coverage(run, guidance),
        *preference.gains(run, guidance),
        *frontier.frontiers(run, guidance),
        *algorithms.algorithms(run, guidance),
        *training.training_curves(run),
        *samples.sample_grids(run, guidance),
    ]


def draw_figures(run: RunData, folder: Path) -> Drawn:
    """Write every figure the results can make into `folder`."""
    with mpl.rc_context(RC):
        found = pictures(run)
        written = [(p, save(p, folder)) for p in found]
    shown = tuple((p.caption, paths[0]) for p, paths in written if p.inline)
    return Drawn(tuple(path for _, paths in written for path in paths), shown)
