"""Algorithms side by side: FD against what it costs in nats, and held-out FD against the time spent training.

Drawn where one reward was followed by several algorithms; lambda means something else in each, KL and time do not.
"""

from __future__ import annotations

import math

import numpy as np

from drlbench.report.effects import mean_over_seeds
from drlbench.report.figures.style import (
    DAGGER,
    MUTED,
    Named,
    Picture,
    Trail,
    fd_name,
    footnote,
    new_figure,
    run_styles,
    settle_and_name,
)
from drlbench.report.fronts import BASE
from drlbench.report.headline import headline_lambda
from drlbench.report.rundata import CellKey, RunData

KL = "kl_nats"
WATCHED = "held_out/fd/"


def algorithms(run: RunData, guidance: str) -> list[Picture]:
    """Both figures, or none where no reward was followed by two algorithms."""
    return [*_against_kl(run, guidance), *_against_time(run, guidance)] if _rivals(run) else []


def _rivals(run: RunData) -> bool:
    followed: dict[str, set[str]] = {}
    for cell in run.cells:
        record = run.cell_record(cell)
        if record.reward and record.algorithm:
            followed.setdefault(record.reward, set()).add(record.algorithm)
    return any(len(found) > 1 for found in followed.values())


def _against_kl(run: RunData, guidance: str) -> list[Picture]:
    """One panel per space and backbone; a path starts at the base, at 0 nats, and follows lambda."""
    if not run.spaces or not any(r.metric == KL for r in run.rows):
        return []
    rows, columns = len(run.backbones), len(run.spaces)
    figure, grid = new_figure(0.6 + 4.2 * columns, 0.5 + 3.8 * rows, rows, columns)
    look = run_styles(run)
    drawn: list[Named] = []
    for backbone, line in zip(run.backbones, grid, strict=True):
        for space, axes in zip(run.spaces, line, strict=True):
            panel = Named(axes)
            base = mean_over_seeds(run, backbone, BASE, None, guidance, space, "fd").value
            for name in (n for n in run.runs if n != BASE):
                trail = [(0.0, base)] if math.isfinite(base) else []
                for lambda_ in run.lambdas(backbone, name):
                    nats = mean_over_seeds(run, backbone, name, lambda_, guidance, "", KL).value
                    fd = mean_over_seeds(run, backbone, name, lambda_, guidance, space, "fd")
                    if math.isfinite(nats) and math.isfinite(fd.value):
                        trail.append((nats, fd.value))
                        if math.isfinite(fd.low):
                            axes.plot([nats, nats], [fd.low, fd.high], color=look[name].light, lw=0.8, alpha=0.6)
                if len(trail) > 1:
                    style = look[name]
                    x, y = zip(*trail, strict=True)
                    axes.plot(x, y, color=style.light, lw=1.1, alpha=0.8)
                    axes.plot(x[1:], y[1:], style.marker, color=style.light, ms=5, mfc="white")
                    panel.paths.append(trail)
                    panel.ends.append((x[-1], y[-1], name, style.light))
            if math.isfinite(base):
                axes.axhline(base, color=MUTED, lw=0.8, ls="--", zorder=0)
            # Most of what there is to tell lies below a nat, some runs spend ten.
            axes.set_xscale("symlog", linthresh=1.0, linscale=1.5)
            axes.set_xlim(left=0)
            axes.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1, 2, 5, 10], ["0", ".2", ".4", ".6", ".8", "1", "2", "5", "10"])
            axes.margins(0.08)
            axes.set_xlabel("KL from the base (nats)")
            axes.set_ylabel("FD (lower is better)" if space == run.spaces[0] else "")
            axes.set_title(f"{backbone}: {fd_name(run, space)}" if rows > 1 else fd_name(run, space), loc="left")
            drawn.append(panel)
    if not any(panel.paths for panel in drawn):
        return []
    footnote(
        figure,
        "Each path starts at the base and follows lambda; mean over seeds, bars 95 % sampling interval. Linear up to "
        f"one nat, logarithmic beyond. {DAGGER} held out. Guidance: {guidance}.",
    )
    settle_and_name(figure, drawn)
    return [Picture("fd_kl", "FD in each feature space against the KL from the base, by algorithm", figure)]


def _against_time(run: RunData, guidance: str) -> list[Picture]:
    """Held-out FD of the small sample that was watched, at each family's one lambda, against seconds of training."""
    watched = {
        s: {c.run for c in run.cells if any(f"{WATCHED}{s}" in p["series"] for p in run.parts.get(c.id, []))}
        for s in run.spaces
    }
    spaces = [s for s in run.spaces if len(watched[s]) > 1]  # where rewards look, only the control is watched
    if not spaces:
        return []
    rows, columns = len(run.backbones), len(spaces)
    figure, grid = new_figure(0.6 + 4.2 * columns, 0.5 + 3.3 * rows, rows, columns)
    look = run_styles(run)
    drawn: list[Named] = []
    for backbone, line in zip(run.backbones, grid, strict=True):
        for space, axes in zip(spaces, line, strict=True):
            panel = Named(axes)
            for name in (n for n in run.runs if n != BASE):
                lambda_ = headline_lambda(run, backbone, name, guidance) if run.lambdas(backbone, name) else None
                trail = _mean_trail([_watched(run, c, space) for c in run.seeds(backbone, name, lambda_)])
                if trail:
                    style = look[name]
                    x, y = zip(*trail, strict=True)
                    axes.plot(x, y, marker=style.marker, color=style.light, ms=4, lw=1.2, mfc="white")
                    panel.paths.append(trail)
                    panel.ends.append((x[-1], y[-1], name, style.light))
            axes.margins(x=0.3, y=0.08)
            axes.set_xlim(left=0)
            axes.set_xlabel("seconds of training")
            axes.set_ylabel("FD (lower is better)" if space == spaces[0] else "")
            title = f"{fd_name(run, space)} while training"
            axes.set_title(f"{backbone}: {title}" if rows > 1 else title, loc="left")
            drawn.append(panel)
    if not any(panel.paths for panel in drawn):
        return []
    footnote(
        figure,
        "Measured during training on a small sample, whose FD is biased upwards: compare curves, not with the table. "
        "Mean over seeds, the one lambda each family is quoted at.",
    )
    settle_and_name(figure, drawn)
    return [Picture("fd_time", "Held-out FD while training, against the seconds spent, by algorithm", figure)]


def _watched(run: RunData, cell: CellKey, space: str) -> Trail:
    """(seconds of training, FD) of one cell; a cell's seconds are spread evenly over its updates."""
    parts = sorted(
        (p for p in run.parts.get(cell.id, []) if p.get("kind") == "finetune"), key=lambda p: p.get("round", 0)
    )
    total = sum(p["step"][-1] for p in parts if p["step"])
    seconds = run.cell_record(cell).training_seconds
    trail, done = [], 0.0
    for part in parts if seconds else []:
        for step, value in zip(part["step"], part["series"].get(f"{WATCHED}{space}", []), strict=False):
            if value is not None:
                trail.append(((done + step) / total * seconds, value))
        done += part["step"][-1] if part["step"] else 0
    return trail


def _mean_trail(trails: list[Trail]) -> Trail:
    """The mean over seeds of trails with a point each at the same updates."""
    full = [t for t in trails if t and len(t) == max(map(len, trails))]
    return [tuple(np.mean(points, axis=0).tolist()) for points in zip(*full, strict=True)]
