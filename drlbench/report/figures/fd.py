"""Distances: FD ratio dots (the paper's Figure 5), metrics against lambda (6, 17, 18), precision and coverage (6)."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
from matplotlib.axes import Axes

from drlbench.frontier.uncertainty import Estimate, estimate
from drlbench.report.effects import fd_ratio, mean_over_seeds
from drlbench.report.figures.style import (
    BOLD,
    DAGGER,
    MUTED,
    Named,
    Picture,
    crammed,
    fd_name,
    file_name,
    footnote,
    label_ends,
    lambda_axis,
    log_ticks,
    new_figure,
    run_styles,
    settle_and_name,
    space_name,
    weighted,
    widen,
)
from drlbench.report.fronts import BASE, family_points
from drlbench.report.headline import headline_lambda
from drlbench.report.rundata import CellKey, RunData
from drlbench.report.tilt_path import PLAIN, TILT_GAIN
from drlbench.report.words import metric_name

EXACT = (
    "Upright line, of runs that start from the base: the exact optimum of round 1, against as few samples of the base. "
)
SEVEN = ("fd", "fd_val", "kd_x1000", "precision", "recall", "density", "coverage")


def fd_ratios(run: RunData, guidance: str) -> list[Picture]:
    """One dot per family and space: base / run at the ONE lambda of the family, with both intervals."""
    names = [n for n in run.runs if n != BASE]
    if not names or BASE not in run.runs or not run.spaces:
        return []
    look = run_styles(run)
    count = len(run.backbones)
    figure, grid = new_figure(min(11.0, 1.6 + 4.2 * count), 0.9 + 0.24 * len(names) * len(run.spaces) + 0.4, 1, count)
    drawn = exact = False
    low, high = _ratio_limits(run, guidance, names)
    for axes, backbone in zip(grid[0], run.backbones, strict=True):
        ticks = []
        own = [n for n in names if run.lambdas(backbone, n)]
        for s, space in enumerate(run.spaces):
            for i, name in enumerate(own):
                lambda_ = headline_lambda(run, backbone, name, guidance)
                e = fd_ratio(run, backbone, name, lambda_, guidance, space).estimate
                y = -(s * (len(own) + 1) + i)
                ticks.append((y, name if lambda_ is None else f"{name} λ={lambda_:g}"))
                if not math.isfinite(e.value):
                    continue
                drawn = True
                colour = look[name].light
                if math.isfinite(e.seed_low):
                    axes.plot([e.seed_low, e.seed_high], [y, y], color=colour, lw=0.8, alpha=0.6)
                    for end, arrow in ((e.seed_low, "<"), (e.seed_high, ">")):
                        if not low <= end <= high:
                            axes.plot([min(max(end, low), high)], [y], arrow, color=colour, ms=4, clip_on=False)
                if math.isfinite(e.low):
                    axes.plot([e.low, e.high], [y, y], color=colour, lw=3, alpha=0.45, solid_capstyle="butt")
                face = "white" if run.held_out_space(space) else colour
                axes.plot([e.value], [y], look[name].marker, color=colour, mfc=face, ms=6)
                optimum = _optimum(run, backbone, name, lambda_, space)
                axes.plot([optimum], [y], "|", color=colour, ms=9, mew=1.4)
                exact |= math.isfinite(optimum)
            axes.annotate(
                space_name(run, space), (0.01, -(s * (len(own) + 1)) + 0.75), xycoords=("axes fraction", "data"),
                va="center", fontsize=8.5, fontweight="bold", fontfamily=BOLD, annotation_clip=False,
            )  # fmt: skip
        axes.axvline(1.0, color=MUTED, lw=1, ls=":")
        axes.set_xscale("log")
        axes.set_xlim(low, high)
        marks = [v for v in (0.1, 0.2, 0.33, 0.5, 0.67, 1, 1.5, 2, 3, 5, 10, 20) if low <= v <= high]
        axes.set_xticks(marks, [f"{v:g}x" for v in marks])
        axes.minorticks_off()
        axes.set_yticks([t for t, _ in ticks], [n for _, n in ticks], fontsize=8)
        axes.set_ylim(min((t for t, _ in ticks), default=0) - 0.7, 1.2)
        axes.grid(axis="y", visible=False)
        axes.set_title(backbone, loc="left")
        axes.set_xlabel("FD of base / FD of run (right is better)")
    footnote(
        figure,
        f"Thick: 95 % sampling interval. Thin: over seeds, with an arrow where it goes on. {DAGGER}, hollow: held "
        f"out. {EXACT if exact else ''}Guidance: {guidance}.",
    )
    caption = "FD of the base divided by FD of each run, one dot per run and feature space, with intervals"
    return [Picture("fd_ratio", caption, figure)] if drawn else []


def _optimum(run: RunData, backbone: str, name: str, lambda_: float | None, space: str) -> float:
    """What the exact optimum of a run's objective gains over its start; of a run that starts from the base only."""
    if any(run.cell_record(c).start is not None for c in run.seeds(backbone, name, lambda_)):
        return math.nan
    return mean_over_seeds(run, backbone, name, lambda_, PLAIN, space, TILT_GAIN).value


def _ratio_limits(run: RunData, guidance: str, names: list[str]) -> tuple[float, float]:
    """Limits of all panels, which show every dot and sampling interval, and those over seeds as far as twice beyond."""
    ends, over_seeds = [1.1, 0.9], []
    for backbone, name in product(run.backbones, names):
        if not run.lambdas(backbone, name):
            continue
        lambda_ = headline_lambda(run, backbone, name, guidance)
        for space in run.spaces:
            e = fd_ratio(run, backbone, name, lambda_, guidance, space).estimate
            optimum = _optimum(run, backbone, name, lambda_, space)
            ends += [v for v in (e.value, e.low, e.high, optimum) if math.isfinite(v) and v > 0]
            over_seeds += [v for v in (e.seed_low, e.seed_high) if math.isfinite(v)]
    low, high = min(ends), max(ends)
    ends += [min(max(v, low / 2), 2 * high) for v in over_seeds]
    return min(ends) * 0.85, max(ends) * 1.2


def against_lambda(run: RunData, guidance: str) -> list[Picture]:
    """FD in every space against lambda, one panel per space and backbone, base as a line."""
    swept = weighted(run)
    if not swept or not run.spaces:
        return []
    rows, columns = len(run.backbones), len(run.spaces)
    figure, grid = new_figure(0.6 + 3.3 * columns, 0.5 + 2.5 * rows, rows, columns)
    for backbone, line in zip(run.backbones, grid, strict=True):
        for space, axes in zip(run.spaces, line, strict=True):
            _sweep(run, axes, backbone, guidance, swept, space, "fd")
            axes.set_title(f"{backbone}: {fd_name(run, space)}" if rows > 1 else fd_name(run, space), loc="left")
            axes.set_ylabel("FD (lower is better)" if space == run.spaces[0] else "")
    footnote(figure, f"Mean over seeds, bars 95 % sampling interval. {DAGGER} held out. Guidance: {guidance}.")
    return [Picture("fd_lambda", "FD in each feature space against the weight of the reward", figure)]


def seven_metrics(run: RunData, guidance: str) -> list[Picture]:
    """All seven distances and manifold metrics against lambda, one figure per backbone (the paper's Figures 17, 18)."""
    swept = weighted(run)
    metrics = [m for m in SEVEN if any(r.metric == m for r in run.rows)]
    if not swept or not metrics:
        return []
    pictures = []
    for backbone in run.backbones:
        rows, columns = len(run.spaces), len(metrics)
        figure, grid = new_figure(0.6 + 2.5 * columns, 0.5 + 2.1 * rows, rows, columns)
        for space, line in zip(run.spaces, grid, strict=True):
            for metric, axes in zip(metrics, line, strict=True):
                _sweep(run, axes, backbone, guidance, swept, space, metric, labels=metric == metrics[-1])
                axes.set_title(f"{metric_name(metric)}, {space_name(run, space)}", loc="left")
        footnote(
            figure,
            f"{backbone}. Mean over seeds, bars 95 % sampling interval. {DAGGER} held out. Guidance: {guidance}.",
        )
        name = f"metrics_lambda_{file_name(backbone)}"
        caption = f"Seven metrics of {backbone} in each space against the weight of the reward"
        pictures.append(Picture(name, caption, figure))
    return pictures


def _sweep(
    run: RunData,
    axes: Axes,
    backbone: str,
    guidance: str,
    names: list[str],
    space: str,
    metric: str,
    labels: bool = True,
) -> None:
    look = run_styles(run)
    ends, seen = [], []
    for name in names:
        lambdas = [v for v in run.lambdas(backbone, name) if v is not None]
        es = [mean_over_seeds(run, backbone, name, v, guidance, space, metric) for v in lambdas]
        kept = [(v, e) for v, e in zip(lambdas, es, strict=True) if math.isfinite(e.value)]
        if not kept:
            continue
        x, y = np.array([v for v, _ in kept]), np.array([e.value for _, e in kept])
        spread = np.array([[e.value - e.low, e.high - e.value] for _, e in kept]).T
        bars = np.where(np.isfinite(spread), np.maximum(spread, 0), 0)
        style = look[name]
        axes.errorbar(
            x, y, yerr=bars, color=style.light, marker=style.marker, ms=4.5, lw=1.4, elinewidth=1, mfc="white"
        )
        ends.append((x[-1], y[-1], name, style.light))
        seen += list(x)
    if seen:
        lambda_axis(axes, seen)
        axes.margins(x=0.06)
    base = mean_over_seeds(run, backbone, BASE, None, guidance, space, metric)
    if metric.startswith("fd") and crammed([y for _, y, _, _ in ends] + [base.value]):
        axes.set_yscale("log")
        log_ticks(axes.yaxis)
    if math.isfinite(base.value):
        reach = (min(seen), max(seen)) if seen else (0.0, 1.0)
        axes.plot(reach, (base.value, base.value), color=look[BASE].light, lw=1, ls="--")
        ends.append((reach[1], base.value, BASE, look[BASE].light))
    if labels and ends:
        widen(axes, 0.45)
        label_ends(axes, ends)


def precision_coverage(run: RunData, guidance: str) -> list[Picture]:
    """Precision against coverage along lambda, in every space: does quality cost diversity?"""
    if not {"precision", "coverage"} <= {r.metric for r in run.rows}:
        return []
    look = run_styles(run)
    rows, columns = len(run.backbones), len(run.spaces)
    figure, grid = new_figure(0.6 + 3.4 * columns, 0.5 + 2.9 * rows, rows, columns)
    drawn: list[Named] = []
    for backbone, line in zip(run.backbones, grid, strict=True):
        for space, axes in zip(run.spaces, line, strict=True):
            panel = Named(axes)
            for name in run.runs:
                points = [
                    p for cells in family_points(run, backbone, name) if (p := _point(run, cells, guidance, space))
                ]
                own = any(c.run == name for cells, _, _ in points for c in cells)
                if not own:
                    continue  # nothing but the model it starts from was measured here
                style = look[name]
                x, y = [p.value for _, p, _ in points], [c.value for _, _, c in points]
                axes.plot(x, y, marker=style.marker, color=style.light, ms=4.5, lw=1.2, mfc="white")
                for _, precision, coverage in points:
                    low, high = (coverage.low, coverage.high)
                    axes.plot([precision.value] * 2, [low, high], color=style.light, lw=0.8, alpha=0.6)
                    axes.plot(
                        [precision.low, precision.high], [coverage.value] * 2, color=style.light, lw=0.8, alpha=0.6
                    )
                panel.paths.append(list(zip(x, y, strict=True)))
                panel.ends.append((x[-1], y[-1], name, style.light))
            axes.set_title(f"{backbone}: {space_name(run, space)}" if rows > 1 else space_name(run, space), loc="left")
            axes.set_xlabel("precision (right is better)")
            axes.set_ylabel("coverage (up is better)" if space == run.spaces[0] else "")
            axes.margins(0.1)
            drawn.append(panel)
    footnote(
        figure,
        "Each path begins at the model its run starts from and follows lambda upwards; its label is at the largest. "
        f"Mean over seeds, bars 95 % sampling interval. {DAGGER} held out. Guidance: {guidance}.",
    )
    settle_and_name(figure, drawn)
    caption = "Precision against coverage along lambda in each feature space"
    return [Picture("precision_coverage", caption, figure)]


def _point(
    run: RunData, cells: dict[str, CellKey], guidance: str, space: str
) -> tuple[tuple[CellKey, ...], Estimate, Estimate] | None:
    """Precision and coverage of one point of a family, mean over seeds, and the cells it is of; None if unmeasured."""
    found = []
    for metric in ("precision", "coverage"):
        values, draws, kept = run.sample(cells.values(), guidance, space, metric)
        found.append(estimate(values, draws))
    return (kept, found[0], found[1]) if all(math.isfinite(e.value) for e in found) else None
