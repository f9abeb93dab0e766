"""How every figure looks, and how it is written: SVG, PDF and PNG that repeat byte for byte.

Direct labels instead of legends where there is room, intervals drawn, held-out things marked by a dagger and a hollow
or dashed stroke, families told apart by marker as well as colour.
"""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.patheffects import AbstractPathEffect, withStroke
from matplotlib.text import Annotation
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from drlbench.frontier.uncertainty import Estimate
from drlbench.report.palette import Style, styles
from drlbench.report.rundata import RunData
from drlbench.report.words import metric_name
from drlbench.store import atomic

# DejaVu Sans with the characters figures use and no layout tables: embedding the whole font took a quarter of the time
# of drawing. Other characters come from the whole one.
fontManager.addfont(str(resources.files("drlbench.report") / "assets" / "figures.ttf"))

RC: Any = {
    "font.size": 9,
    "font.sans-serif": ["drlbench Sans", "DejaVu Sans", "Verdana", "Arial", "Helvetica"],
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
BOLD = "DejaVu Sans"  # of bold text: the font above has no bold
MUTED = "#5c6570"
DAGGER = "†"
# Round a label, where it does cross a line, as on the page. PNG alone: it would turn the text of the others into paths.
RIM: list[AbstractPathEffect] = [withStroke(linewidth=2, foreground="white")]


Trail = list[tuple[float, float]]  # one family's marks in data coordinates, in order of lambda
Ends = list[tuple[float, float, str, str]]  # x, y, name, colour


@dataclass
class Named:
    """A panel whose paths are named once its place is known; `small` texts stand at single marks."""

    axes: Axes
    paths: list[Trail] = field(default_factory=list)
    ends: Ends = field(default_factory=list)
    small: Ends = field(default_factory=list)


@dataclass(frozen=True)
class Picture:
    """A drawn figure: its file name without ending, and its alt text."""

    name: str
    caption: str
    figure: Figure


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Figure, list[list[Axes]]]:
    """A figure of width x height inches with a grid of axes."""
    figure = Figure(figsize=(width, height), dpi=PNG_DPI, layout="constrained")
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
            from matplotlib.backends.backend_pdf import FigureCanvasPdf  # brings fontTools; a report draws no PDF

            FigureCanvasPdf(figure).print_pdf(out, metadata=metadata)
        else:
            figure.dpi = PNG_DPI  # the other two canvases leave it at 72
            labels: list[Annotation] = figure.findobj(Annotation)
            for label in labels:
                label.set_path_effects(RIM)
            FigureCanvasAgg(figure).print_png(out, metadata=metadata)
            for label in labels:
                label.set_path_effects([])
    return out.getvalue()


def svg(picture: Picture) -> str:
    """A picture as SVG text."""
    settle(picture.figure)
    return rendered(picture.figure, "svg").decode()


def save(picture: Picture, folder: Path) -> list[Path]:
    """Write name.svg, name.pdf and name.png."""
    paths = []
    settle(picture.figure)
    for ending in METADATA:
        path = folder / f"{picture.name}.{ending}"
        atomic.write_bytes(path, rendered(picture.figure, ending))
        paths.append(path)
    return paths


def run_styles(run: RunData) -> dict[str, Style]:
    """The family styles of a run."""
    return styles(run.runs)


def weighted(run: RunData) -> list[str]:
    """Families with a lambda, or none of them when no family was run at two."""
    names = [n for n in run.runs if any(c.lambda_ is not None for c in run.cells if c.run == n)]
    swept = any(len(run.lambdas(b, n)) > 1 for b in run.backbones for n in names)
    return names if swept else []


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
    """Muted lines under the figure, wrapped to its width."""
    wide = int(figure.get_figwidth() * 72 / 4.4)
    figure.supxlabel("\n".join(textwrap.wrap(text, wide)), fontsize=7.5, color=MUTED, x=0.01, ha="left")


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
    height = axes.get_window_extent().height * 72 / PNG_DPI
    placed = -1e9
    for x, y, text, colour in sorted(ends, key=lambda e: float(axes.transData.transform((e[0], e[1]))[1])):
        at = float(axes.transAxes.inverted().transform(axes.transData.transform((x, y)))[1]) * height
        placed = max(at, placed + gap)
        place = (7.0, placed - at)
        axes.annotate(text, (x, y), place, textcoords="offset points", color=colour, fontsize=8, va="center")


def spread_labels(panel: Axes, ends: Ends, paths: list[Trail], small: Ends) -> None:
    """Name each path at its end, and mark `small` texts at their points.

    Each takes the nearest of a ring of places that covers no other text, few marks and few lines.
    """
    points = PNG_DPI / 72  # pixels in a point, as long as the figure has its own resolution
    frame = panel.get_window_extent()
    marks = [panel.transData.transform(p) for p in paths]
    lines = [a + (b - a) * f for m in marks for a, b in pairwise(m) for f in (0.1, 0.3, 0.5, 0.7, 0.9)]
    spots = [(s, 1.0) for m in marks for s in m] + [(s, 0.6) for s in lines]
    taken: list[tuple[float, float, float, float]] = []
    for (x, y, text, colour), size in [*((e, 8) for e in ends), *((e, 6) for e in small)]:
        px, py = panel.transData.transform((x, y))
        width, height = len(text) * 0.65 * size * points, 1.12 * size * points
        places = []
        for radius in (9, 16, 26, 38, 52) if size == 8 else (7, 12, 18):
            for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 0.8), (1, -0.8), (-1, 0.8), (-1, -0.8)):
                left = px + dx * radius * points * 0.8 - (width if dx < 0 else width / 2 if dx == 0 else 0)
                low = py + dy * radius * points - height / 2
                right, top = left + width, low + height
                outside = left < frame.x0 or right > frame.x1 or low < frame.y0 or top > frame.y1
                hit = sum(left < t[2] and t[0] < right and low < t[3] and t[1] < top for t in taken)
                over = sum(w for s, w in spots if left - 5 < s[0] < right + 5 and low - 4 < s[1] < top + 4)
                places.append((10 * hit + over + 4 * outside + radius / 40, left, low))
        _, left, low = min(places)
        taken.append((left, low, left + width, low + height))
        offset = ((left - px) / points, (low + height / 2 - py) / points)
        panel.annotate(text, (x, y), offset, textcoords="offset points", color=colour, fontsize=size, va="center")


def settle_and_name(figure: Figure, drawn: Iterable[Named]) -> None:
    """Lay a figure out, and then name the paths of each of its panels, whose places are now known."""
    settle(figure)
    for panel in drawn:
        spread_labels(panel.axes, panel.ends, panel.paths, panel.small)


def widen(axes: Axes, share: float) -> None:
    """Leave room for labels right of the data: a share of the axis' width, in its own scale."""
    left, right = axes.get_xlim()
    log = axes.get_xscale() == "log"
    axes.set_xlim(left, right * (right / left) ** share if log else right + share * (right - left))


def error_bars(
    axes: Axes, x: Sequence[float], found: Sequence[Estimate], colour: str, marker: str, dash: str = "-"
) -> None:
    """A line through the finite estimates, each with its sampling interval where it has one."""
    kept = [(at, e) for at, e in zip(x, found, strict=True) if math.isfinite(e.value)]
    axes.plot([at for at, _ in kept], [e.value for _, e in kept], dash, marker=marker, color=colour, mfc="white", ms=5)
    for at, e in kept:
        if math.isfinite(e.low):
            axes.plot([at, at], [e.low, e.high], color=colour, lw=2.5, alpha=0.4, solid_capstyle="butt")


def file_name(name: str) -> str:
    """A name of a suite as part of a file's name."""
    return "".join(c if c.isalnum() or c in "-._+" else "_" for c in name)


def crammed(values: Sequence[float]) -> bool:
    """Whether a few large distances would press the small ones together; the page's frontier has the same rule."""
    known = [v for v in values if math.isfinite(v)]
    return bool(known) and min(known) > 0 and max(known) / min(known) > 3


def log_ticks(axis: Axis) -> None:
    """Plain numbers at 1, 2 and 5 of every decade: matplotlib's own are formulas, which these figures print as text."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    axis.set_minor_locator(NullLocator())


def lambda_axis(axes: Axes, lambdas: Iterable[float]) -> None:
    """A logarithmic lambda axis with a tick at every lambda that was run, linear where zero is among them."""
    values = sorted(set(lambdas))
    if values and values[0] > 0:
        axes.set_xscale("log")
    axes.set_xticks(values, [f"{v:g}" for v in values])
    axes.minorticks_off()
    axes.set_xlabel("lambda (weight of the reward)")
