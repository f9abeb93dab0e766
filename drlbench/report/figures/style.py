"""How every figure looks, and how it is written: SVG, PDF and PNG that repeat byte for byte.

Direct labels instead of legends where there is room, intervals drawn, held-out things marked by a dagger and a hollow
or dashed stroke, families told apart by marker as well as colour.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from drlbench.report.palette import Style, styles
from drlbench.report.rundata import RunData
from drlbench.report.words import metric_name
from drlbench.store import atomic

RC: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.titlesize": 9.5,
    "axes.axisbelow": True,
    "grid.color": "#e4e7eb",
    "grid.linewidth": 0.6,
    "text.parse_math": False,
    "svg.hashsalt": "drlbench",
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
}
PNG_DPI = 130
METADATA: dict[str, dict[str, Any]] = {
    "svg": {"Date": None, "Creator": "drlbench"},
    "pdf": {"CreationDate": None, "ModDate": None, "Creator": "drlbench", "Producer": "matplotlib"},
    "png": {"Software": "drlbench"},
}
MUTED = "#5c6570"
DAGGER = "†"


@dataclass(frozen=True)
class Picture:
    """A drawn figure: its file name without ending, its alt text, and whether the page shows it."""

    name: str
    caption: str
    figure: Figure
    inline: bool = False


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Figure, list[list[Axes]]]:
    """A figure of width x height inches with a grid of axes."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    grid = [list(row) for row in figure.subplots(rows, columns, squeeze=False)]
    for axes in (a for row in grid for a in row):
        axes.locator_params(nbins=5)
    return figure, grid


def rendered(figure: Figure, ending: str) -> bytes:
    """The bytes of a settled figure; the same for the same drawing.

    The canvas is asked directly: `savefig` would draw everything twice.
    """
    out = io.BytesIO()
    metadata = METADATA[ending]
    with mpl.rc_context(RC):
        if ending == "svg":
            FigureCanvasSVG(figure).print_svg(out, metadata=metadata)
        elif ending == "pdf":
            FigureCanvasPdf(figure).print_pdf(out, metadata=metadata)
        else:
            figure.set_dpi(PNG_DPI)
            FigureCanvasAgg(figure).print_png(out, metadata=metadata)
    return out.getvalue()


def save(picture: Picture, folder: Path) -> list[Path]:
    """Write name.svg, name.pdf and name.png."""
    paths = []
    if picture.figure.get_layout_engine() is not None:
        settle(picture.figure)
    for ending in METADATA:
        path = folder / f"{picture.name}.{ending}"
        atomic.write_bytes(path, rendered(picture.figure, ending))
        paths.append(path)
    return paths


def run_styles(run: RunData) -> dict[str, Style]:
    """The family styles of a run."""
    return styles(run.runs)


def space_name(run: RunData, space: str) -> str:
    """A space with a dagger when it is held out."""
    return f"{space}{DAGGER if run.held_out_space(space) else ''}"


def reward_name(run: RunData, reward: str) -> str:
    """A reward with a dagger when it is held out."""
    return f"{reward}{DAGGER if run.held_out_reward(reward) else ''}"


def fd_name(run: RunData, space: str) -> str:
    """`FD classifier†`."""
    return f"{metric_name('fd')} {space_name(run, space)}"


def footnote(figure: Figure, text: str) -> None:
    """One muted line under the figure."""
    figure.supxlabel(text, fontsize=7.5, color=MUTED, x=0.01, ha="left")


def settle(figure: Figure) -> None:
    """Lay the figure out once and keep it: labels placed after this stay where they were put, and saving is quick."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
    figure.set_layout_engine("none")


def label_ends(axes: Axes, ends: Iterable[tuple[float, float, str, str]], gap: float = 10.0) -> None:
    """Direct labels right of (x, y, text, colour), spread so that none overlaps another.

    Args:
        gap: least distance between two labels' centres, in points, at the size the panel will roughly have.
    """
    height = axes.get_window_extent().height * 72 / axes.figure.dpi
    placed = -1e9
    for x, y, text, colour in sorted(ends, key=lambda e: float(axes.transData.transform((e[0], e[1]))[1])):
        at = float(axes.transAxes.inverted().transform(axes.transData.transform((x, y)))[1]) * height
        placed = max(at, placed + gap)
        place = (7.0, placed - at)
        axes.annotate(text, (x, y), place, textcoords="offset points", color=colour, fontsize=8, va="center")


def widen(axes: Axes, share: float) -> None:
    """Leave room for labels right of the data: a share of the axis' width, in its own scale."""
    left, right = axes.get_xlim()
    log = axes.get_xscale() == "log"
    axes.set_xlim(left, right * (right / left) ** share if log else right + share * (right - left))


def lambda_axis(axes: Axes, lambdas: Iterable[float]) -> None:
    """A logarithmic lambda axis with a tick at every lambda that was run, linear where zero is among them."""
    values = sorted(set(lambdas))
    if values and values[0] > 0:
        axes.set_xscale("log")
    axes.set_xticks(values, [f"{v:g}" for v in values])
    axes.minorticks_off()
    axes.set_xlabel("lambda (weight of the reward)")
