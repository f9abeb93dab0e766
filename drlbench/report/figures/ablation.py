"""Ablations: FD by discriminator encoder (Figure 11), by R1 (23); integrators: norms (13), reward (15), FD (16).

An arm of an ablation is told from run.json: `rewards[].encoders` and `rewards[].report.r1`, and
`cells[].settings.integrator` and `.steps`; norms of X_t are curves of kind `trajectory` (step: t, series: norm).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from drlbench.report.effects import mean_over_seeds
from drlbench.report.figures.style import (
    DAGGER,
    Ends,
    Picture,
    fd_name,
    footnote,
    label_ends,
    new_figure,
    widen,
)
from drlbench.report.palette import KNOWN, SPARE
from drlbench.report.paper_tables import discriminator_encoder
from drlbench.report.rundata import CellKey, RunData

COLOURS = [s.light for n, s in KNOWN.items() if n != "base"] + [s.light for s in SPARE]
MARKERS = "^sDPvX<>h"


def by_encoder(run: RunData, guidance: str) -> list[Picture]:
    """FD in every space for every encoder the discriminator looks through, and for the base."""
    arms = {e: n for n in run.runs if (e := discriminator_encoder(run, n))}
    if len(arms) < 2:
        return []
    labels = ["base", *arms]
    pictures = []
    for backbone in run.backbones:
        table = np.full((len(labels), len(run.spaces)), np.nan)
        for i, name in enumerate(["base", *arms.values()]):
            lambdas = run.lambdas(backbone, name)
            lambda_ = 1.0 if 1.0 in lambdas else lambdas[0] if lambdas else None
            for j, space in enumerate(run.spaces):
                table[i, j] = mean_over_seeds(run, backbone, name, lambda_, guidance, space, "fd").value
        pictures.append(heat_map(table, labels, list(run.spaces), f"ablation_encoder_{_safe(backbone)}", backbone))
    return pictures


def heat_map(table: np.ndarray, rows: list[str], columns: list[str], name: str, title: str) -> Picture:
    """FD by arm and space, coloured by its ratio to the first row (the base), numbers written in."""
    figure, grid = new_figure(1.8 + 0.95 * len(columns), 0.9 + 0.32 * len(rows))
    axes = grid[0][0]
    with np.errstate(divide="ignore", invalid="ignore"):
        shade = np.log2(table / table[:1])
    axes.imshow(shade, cmap="PuOr", vmin=-2.5, vmax=2.5, aspect="auto")
    for i, j in np.ndindex(*table.shape):
        if math.isfinite(table[i, j]):
            ink = "white" if abs(shade[i, j]) > 1.6 else "black"
            axes.text(j, i, f"{table[i, j]:.3g}", ha="center", va="center", fontsize=8, color=ink)
    axes.set_xticks(range(len(columns)), columns, fontsize=8)
    axes.set_yticks(range(len(rows)), rows, fontsize=8)
    axes.grid(visible=False)
    axes.set_title(f"{title}: FD by encoder of the discriminator", loc="left")
    footnote(figure, "Columns: feature spaces. Colour: FD relative to the base, the darker the orange the lower.")
    return Picture(name, f"FD of {title} in each space, by encoder of the discriminator", figure)


def by_r1(run: RunData, guidance: str) -> list[Picture]:
    """FD against the weight of the R1 penalty, one line per space."""
    weights: dict[float, str] = {}
    for name in run.runs:
        paid = {r for c in run.cells if c.run == name for r in run.optimised(c)}
        r1 = [run.reward_meta(r).get("report", {}).get("r1") for r in paid if not run.is_preference(r)]
        if len(paid) == 1 and r1 and isinstance(r1[0], int | float):
            weights[float(r1[0])] = name
    arms = [(w, weights[w]) for w in sorted(weights)]
    if len(arms) < 2:
        return []
    return _lines(run, guidance, arms, "ablation_r1", "weight of R1", "FD against the weight of R1")


def _setting(run: RunData, cell: CellKey, name: str) -> Any:
    return (run.cell_meta.get(cell.id, {}).get("settings") or {}).get(name)


def _integrators(run: RunData) -> dict[str, list[CellKey]]:
    found: dict[str, list[CellKey]] = {}
    for c in run.cells:
        if (integrator := _setting(run, c, "integrator")) is not None:
            found.setdefault(str(integrator), []).append(c)
    return found


def by_steps(run: RunData, guidance: str) -> list[Picture]:
    """FD against the number of steps K of the fine-tune's integrator, one line per integrator."""
    arms = _integrators(run)
    steps = {_setting(run, c, "steps") for cells in arms.values() for c in cells}
    if len(arms) < 2 or len(steps - {None}) < 2:
        return []
    figure, grid = new_figure(0.6 + 3.4 * len(run.spaces), 3.2, 1, len(run.spaces))
    for space, axes in zip(run.spaces, grid[0], strict=True):
        ends: Ends = []
        for i, (name, cells) in enumerate(arms.items()):
            points: dict[float, list[float]] = {}
            for c in cells:
                row, k = run.row(c, guidance, space, "fd"), _setting(run, c, "steps")
                if row is not None and k is not None and math.isfinite(row.value):
                    points.setdefault(float(k), []).append(row.value)
            x = sorted(points)
            y = [float(np.mean(points[k])) for k in x]
            if x:
                axes.plot(x, y, marker=MARKERS[i], color=COLOURS[i], mfc="white")
                ends.append((x[-1], y[-1], name, COLOURS[i]))
        axes.set_title(fd_name(run, space), loc="left")
        axes.set_xlabel("steps K")
        widen(axes, 0.4)
        label_ends(axes, ends)
    footnote(figure, f"Mean over seeds. {DAGGER} held out. Guidance: {guidance}.")
    return [Picture("integrator_fd", "FD against the number of integration steps, by integrator", figure)]


def trajectory_norms(run: RunData) -> list[Picture]:
    """Norm of X_t along the trajectory, by integrator (Figure 13)."""
    return _curves(run, "trajectory", lambda k: k == "norm", "integrator_norm", "t", "Norm of X_t by integrator")


def training_reward(run: RunData) -> list[Picture]:
    """Training reward by integrator (Figure 15)."""
    caption = "Training reward by integrator"
    return _curves(run, "finetune", lambda k: "reward" in k, "integrator_reward", "step", caption)


def _curves(
    run: RunData, kind: str, wanted: Callable[[str], bool], name: str, across: str, caption: str
) -> list[Picture]:
    arms = _integrators(run)
    figure, grid = new_figure(5.0, 3.2)
    axes, ends = grid[0][0], []
    for i, (arm, cells) in enumerate(arms.items()):
        for c in cells:
            for part in (p for p in run.curves.get(c.id, []) if p.get("kind") == kind):
                for series in (k for k in part["series"] if wanted(k)):
                    y = [np.nan if v is None else v for v in part["series"][series]]
                    x = part["step"][: len(y)]
                    axes.plot(x, y, color=COLOURS[i], lw=1.2)
                    label = f"{arm} K={_setting(run, c, 'steps')}"
                    ends.append((float(x[-1]), float(y[-1]), label, COLOURS[i]))
    if not ends:
        return []
    axes.set_xlabel(across)
    widen(axes, 0.4)
    label_ends(axes, list({e[2]: e for e in ends}.values()))
    return [Picture(name, caption, figure)]


def _lines(
    run: RunData, guidance: str, arms: list[tuple[float, str]], name: str, across: str, caption: str
) -> list[Picture]:
    columns = len(run.backbones)
    figure, grid = new_figure(0.6 + 4.2 * columns, 3.2, 1, columns)
    for backbone, axes in zip(run.backbones, grid[0], strict=True):
        ends: Ends = []
        for i, space in enumerate(run.spaces):
            points = []
            for at, family in arms:
                lambdas = run.lambdas(backbone, family)
                e = mean_over_seeds(run, backbone, family, lambdas[0] if lambdas else None, guidance, space, "fd")
                points += [(at, e.value)] if math.isfinite(e.value) else []
            if points:
                x, y = zip(*points, strict=True)
                axes.plot(x, y, marker=MARKERS[i], color=COLOURS[i], mfc="white")
                ends.append((x[-1], y[-1], fd_name(run, space), COLOURS[i]))
        axes.set_xscale("symlog", linthresh=min(a for a, _ in arms if a > 0) if any(a > 0 for a, _ in arms) else 1.0)
        axes.set_xticks([a for a, _ in arms], [f"{a:g}" for a, _ in arms])
        axes.minorticks_off()
        axes.set_title(backbone, loc="left")
        axes.set_xlabel(across)
        left, right = axes.get_xlim()
        axes.set_xlim(left, right * 30)
        label_ends(axes, ends)
    footnote(figure, f"Mean over seeds. {DAGGER} held out. Guidance: {guidance}.")
    return [Picture(name, caption, figure)]


def _safe(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-._+" else "_" for c in name)
