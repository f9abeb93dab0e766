"""Integrators of the memoryless SDE: norms of X_t (the paper's Figure 13), training reward (15), FD by steps (16).

An arm is told from run.json: `cells[].settings.integrator` and `.steps`. Norms are curves of kind `trajectory`
(step: t; series: norm, ode, base_norm, base_ode and their `/error`s).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from drlbench.frontier.uncertainty import NORMAL_95, Estimate
from drlbench.report.effects import mean_over_seeds
from drlbench.report.figures.ablation import COLOURS, MARKERS
from drlbench.report.figures.style import (
    DAGGER,
    MUTED,
    Ends,
    Picture,
    error_bars,
    fd_name,
    file_name,
    footnote,
    label_ends,
    new_figure,
    settle,
    widen,
)
from drlbench.report.fronts import BASE
from drlbench.report.rundata import CellKey, RunData

Arms = dict[str, dict[int, CellKey]]  # integrator -> K -> the first cell with both


def integrators(run: RunData, backbone: str) -> Arms:
    """The cells of a backbone that differ by integrator, or none where only one was used."""
    found: Arms = {}
    for cell in (c for c in run.cells if c.backbone == backbone):
        settings = run.cell_record(cell).settings
        if settings.get("integrator") is not None and settings.get("steps") is not None:
            found.setdefault(str(settings["integrator"]), {}).setdefault(int(settings["steps"]), cell)
    return found if len(found) > 1 else {}


def _steps(arms: Arms) -> list[int]:
    return sorted({k for cells in arms.values() for k in cells})


def _series(run: RunData, cell: CellKey, kind: str, name: str) -> tuple[Any, Any]:
    """One series over all parts of a kind, each part's steps after the last one's."""
    xs, ys, offset = [], [], 0.0
    for part in (p for p in run.parts.get(cell.id, []) if p.get("kind") == kind and name in p.get("series", {})):
        values = [np.nan if v is None else v for v in part["series"][name]]
        x = np.array(part["step"][: len(values)], float)
        xs.append(x + offset)
        ys.append(np.array(values, float))
        offset += float(x[-1]) if len(x) else 0.0
    return (np.concatenate(xs), np.concatenate(ys)) if xs else (np.empty(0), np.empty(0))


def trajectory_norms(run: RunData) -> list[Picture]:
    """Mean |X_t| along the SDE under each integrator, beside the flow ODE's: one panel per K and model."""
    pictures = []
    for backbone in run.backbones:
        arms = integrators(run, backbone)
        cells = [c for by_steps in arms.values() for c in by_steps.values()]
        if not any(len(_series(run, c, "trajectory", "norm")[0]) for c in cells):
            continue
        steps = _steps(arms)
        figure, grid = new_figure(0.8 + 2.9 * len(steps), 5.4, 2, len(steps))
        panels: list[tuple[Axes, Ends]] = []
        for prefix, told, line in (("base_", "base", grid[0]), ("", "after training", grid[1])):
            for k, axes in zip(steps, line, strict=True):
                ends: Ends = []
                for i, (name, by_steps) in enumerate(arms.items()):
                    if k in by_steps:
                        ends += _norm_lines(run, axes, by_steps[k], prefix, name, COLOURS[i])
                axes.set_title(f"{told}, K = {k}", loc="left")
                axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
                axes.set_xlabel("t (0 noise, 1 data)" if not prefix else "")
                axes.set_ylabel("mean norm of X_t" if k == steps[0] else "")
                widen(axes, 0.45)
                panels.append((axes, list({e[2]: e for e in ends}.values())))
        for line in grid:
            low, high = min(a.get_ylim()[0] for a in line), max(a.get_ylim()[1] for a in line)
            for axes in line:
                axes.set_ylim(low, high)
        footnote(
            figure,
            f"{backbone}. Solid: memoryless SDE; dashed: flow ODE (Heun), same grid. Shaded: 95 % interval of the "
            "mean over trajectories.",
        )
        settle(figure)
        for axes, ends in panels:
            label_ends(axes, ends)
        pictures.append(
            Picture(f"integrator_norm_{file_name(backbone)}", f"Norm of X_t of {backbone}, by integrator", figure)
        )
    return pictures


def _norm_lines(run: RunData, axes: Axes, cell: CellKey, prefix: str, name: str, colour: str) -> Ends:
    t, norm = _series(run, cell, "trajectory", f"{prefix}norm")
    if not len(t):
        return []
    _, error = _series(run, cell, "trajectory", f"{prefix}norm/error")
    _, ode = _series(run, cell, "trajectory", f"{prefix}ode")
    axes.plot(t, ode, "--", color=MUTED, lw=1.1)
    axes.plot(t, norm, color=colour, lw=1.4)
    if len(error) == len(norm):
        axes.fill_between(t, norm - NORMAL_95 * error, norm + NORMAL_95 * error, color=colour, alpha=0.25, lw=0)
    return [(float(t[-1]), float(norm[-1]), name, colour), (float(t[-1]), float(ode[-1]), "ODE", MUTED)]


def training_reward(run: RunData) -> list[Picture]:
    """The training reward of each integrator, one panel per number of steps."""
    pictures = []
    for backbone in run.backbones:
        arms = integrators(run, backbone)
        if not arms:
            continue
        steps = _steps(arms)
        figure, grid = new_figure(0.8 + 2.9 * len(steps), 2.9, 1, len(steps))
        panels, drawn = [], False
        for k, axes in zip(steps, grid[0], strict=True):
            ends: Ends = []
            for i, (name, by_steps) in enumerate(arms.items()):
                x, y = _series(run, by_steps[k], "finetune", "reward") if k in by_steps else (np.empty(0), np.empty(0))
                if len(x):
                    axes.plot(x, y, color=COLOURS[i], lw=1.3)
                    ends.append((float(x[-1]), float(y[-1]), name, COLOURS[i]))
                    drawn = True
            axes.set_title(f"K = {k}", loc="left")
            axes.set_xlabel("update")
            axes.set_ylabel("training reward" if k == steps[0] else "")
            axes.set_xticks([v for v in axes.get_xticks() if 0 <= v <= max((e[0] for e in ends), default=0)])
            widen(axes, 0.5)
            panels.append((axes, ends))
        low, high = (f(a.get_ylim()[i] for a in grid[0]) for i, f in ((0, min), (1, max)))
        for axes in grid[0]:
            axes.set_ylim(low, high)
        footnote(figure, f"{backbone}. Mean reward of the trajectory buffer in use; first seed.")
        settle(figure)
        for axes, ends in panels:
            label_ends(axes, ends)
        if drawn:
            caption = f"Training reward of {backbone}, by integrator"
            pictures.append(Picture(f"integrator_reward_{file_name(backbone)}", caption, figure))
    return pictures


def by_steps(run: RunData, guidance: str) -> list[Picture]:
    """FD against the number of steps K of the fine-tune's integrator, one line per integrator, the base as a line."""
    pictures = []
    for backbone in run.backbones:
        arms = integrators(run, backbone)
        if len(_steps(arms)) < 2 or not run.spaces:
            continue
        figure, grid = new_figure(0.8 + 2.9 * len(run.spaces), 3.0, 1, len(run.spaces))
        panels: list[tuple[Axes, Ends]] = []
        for space, axes in zip(run.spaces, grid[0], strict=True):
            ends: Ends = []
            for i, (name, cells) in enumerate(arms.items()):
                steps = sorted(cells)
                found: list[Estimate] = [
                    mean_over_seeds(run, backbone, cells[k].run, cells[k].lambda_, guidance, space, "fd") for k in steps
                ]
                # Arms side by side, so that bars do not hide one another.
                shifted = [k * 1.03 ** (i - (len(arms) - 1) / 2) for k in steps]
                error_bars(axes, shifted, found, COLOURS[i], MARKERS[i])
                ends += [(shifted[-1], found[-1].value, name, COLOURS[i])] if math.isfinite(found[-1].value) else []
            base = mean_over_seeds(run, backbone, BASE, None, guidance, space, "fd")
            if math.isfinite(base.value):
                axes.plot(_steps(arms)[:: len(_steps(arms)) - 1], [base.value] * 2, ":", color=MUTED, lw=1.2)
                ends.append((_steps(arms)[-1], base.value, BASE, MUTED))
            axes.set_xscale("log")
            axes.set_xticks(_steps(arms), [f"{k:g}" for k in _steps(arms)])
            axes.minorticks_off()
            axes.set_title(fd_name(run, space), loc="left")
            axes.set_ylabel("FD (lower is better)" if space == run.spaces[0] else "")
            axes.set_xlabel("steps K")
            widen(axes, 0.45)
            panels.append((axes, ends))
        footnote(
            figure,
            f"{backbone}. Mean over seeds, bars 95 % sampling interval. {DAGGER} held out. Guidance: {guidance}.",
        )
        settle(figure)
        for axes, ends in panels:
            label_ends(axes, ends)
        caption = f"FD of {backbone} against the number of integration steps, by integrator"
        pictures.append(Picture(f"integrator_fd_{file_name(backbone)}", caption, figure))
    return pictures
