"""Ablations of the discriminator: FD by the encoder it looks through (the paper's Figure 11), by the weight of R1 (23).

An arm is told from run.json: `rewards[].encoders` and `rewards[].report.r1`. Where several runs share an encoder, or an
encoder and a weight, the suite's first stands for it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from drlbench.frontier.uncertainty import Estimate
from drlbench.report.effects import mean_over_seeds
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
    space_name,
)
from drlbench.report.fronts import BASE
from drlbench.report.palette import KNOWN, SPARE
from drlbench.report.paper_tables import discriminator_encoder
from drlbench.report.rundata import RunData

COLOURS = [s.light for n, s in KNOWN.items() if n != BASE] + [s.light for s in SPARE]
MARKERS = "^sDPvX<>h"


def one_lambda(run: RunData, backbone: str, name: str) -> float | None:
    """The lambda an ablation's run is quoted at: 1 where it has it, else its smallest."""
    lambdas = run.lambdas(backbone, name)
    return 1.0 if 1.0 in lambdas else lambdas[0] if lambdas else None


def by_encoder(run: RunData, guidance: str) -> list[Picture]:
    """FD in every space for every encoder the discriminator looks through, and for the base."""
    arms: dict[str, str] = {}
    for name in run.runs:
        if encoder := discriminator_encoder(run, name):
            arms.setdefault(encoder, name)
    if len(arms) < 2:
        return []
    labels = [BASE, *(e.replace("+", " + ") for e in arms)]
    pictures = []
    for backbone in run.backbones:
        names = [BASE, *arms.values()]
        at = [(n, one_lambda(run, backbone, n)) for n in names]
        table = [[mean_over_seeds(run, backbone, n, w, guidance, s, "fd") for s in run.spaces] for n, w in at]
        columns = [space_name(run, s) for s in run.spaces]
        pictures.append(heat_map(table, labels, columns, f"ablation_encoder_{file_name(backbone)}", backbone))
    return pictures


def heat_map(
    table: Sequence[Sequence[Estimate | float]], rows: list[str], columns: list[str], name: str, title: str
) -> Picture:
    """FD by arm and space, coloured by its ratio to the first row (the base), numbers and intervals written in."""
    figure, grid = new_figure(2.0 + 1.15 * len(columns), 1.1 + 0.42 * len(rows))
    axes = grid[0][0]
    values = np.array([[e.value if isinstance(e, Estimate) else e for e in line] for line in table])
    with np.errstate(divide="ignore", invalid="ignore"):
        shade = np.log2(values / values[:1])
    axes.imshow(shade, cmap="PuOr", vmin=-2.5, vmax=2.5, aspect="auto")
    for i, j in np.ndindex(*values.shape):
        if math.isfinite(values[i, j]):
            e, ink = table[i][j], "white" if abs(shade[i, j]) > 1.6 else "black"
            known = isinstance(e, Estimate) and math.isfinite(e.low)
            axes.text(j, i - 0.16 * known, f"{values[i, j]:.3g}", ha="center", va="center", fontsize=8.5, color=ink)
            if isinstance(e, Estimate) and known:
                axes.text(
                    j, i + 0.24, f"{e.low:.3g} to {e.high:.3g}", ha="center", va="center", fontsize=6.2, color=ink
                )
    axes.set_xticks(range(len(columns)), columns, fontsize=8)
    axes.set_yticks(range(len(rows)), rows, fontsize=8)
    axes.grid(visible=False)
    axes.set_title(f"{title}: FD by encoder of the discriminator", loc="left")
    note = f"Columns: feature spaces, {DAGGER} held out. Colour: FD relative to the base, orange lower, purple higher."
    measured = any(isinstance(e, Estimate) for line in table for e in line)
    footnote(figure, note + (" Small print: 95 % sampling interval." if measured else ""))
    return Picture(name, f"FD of {title} in each space, by encoder of the discriminator", figure)


def by_r1(run: RunData, guidance: str) -> list[Picture]:
    """FD against the weight of the R1 penalty of one discriminator, one panel per space, the base as a line."""
    arms = _r1_arms(run)
    if len(arms) < 2 or not run.spaces:
        return []
    rows, columns = len(run.backbones), len(run.spaces)
    figure, grid = new_figure(0.8 + 2.9 * columns, 0.6 + 2.5 * rows, rows, columns)
    weights = [w for w, _ in arms]
    least = min((w for w in weights if w > 0), default=1.0)
    panels: list[tuple[Axes, Ends]] = []
    for backbone, line in zip(run.backbones, grid, strict=True):
        for i, (space, axes) in enumerate(zip(run.spaces, line, strict=True)):
            found = [
                mean_over_seeds(run, backbone, n, one_lambda(run, backbone, n), guidance, space, "fd") for _, n in arms
            ]
            axes.set_xscale("symlog", linthresh=least, linscale=0.5)
            error_bars(axes, weights, found, COLOURS[0], "^")
            base = mean_over_seeds(run, backbone, BASE, None, guidance, space, "fd")
            ends: Ends = []
            if math.isfinite(base.value):
                axes.plot([weights[0], weights[-1]], [base.value] * 2, ":", color=MUTED, lw=1.2)
                ends.append((weights[-1], base.value, BASE, MUTED))
            axes.set_xticks(weights, [f"{w:g}" for w in weights], fontsize=7.5)
            axes.minorticks_off()
            left, right = axes.get_xlim()
            axes.set_xlim(left, right * 4)
            axes.set_title(f"{backbone}: {fd_name(run, space)}" if rows > 1 else fd_name(run, space), loc="left")
            axes.set_ylabel("" if i else "FD (lower is better)")
            axes.set_xlabel("weight of R1")
            panels.append((axes, ends))
    through = " + ".join(run.reward_record(_paid(run, arms[0][1])).encoders)
    footnote(
        figure,
        f"Discriminator through {through}. Mean over seeds, bars 95 % sampling interval. {DAGGER} held out. "
        f"Guidance: {guidance}.",
    )
    settle(figure)
    for axes, ends in panels:
        label_ends(axes, ends)
    return [Picture("ablation_r1", "FD against the weight of R1", figure)]


def _paid(run: RunData, name: str) -> str:
    """The one discriminator a family is trained on, or an empty string."""
    paid = dict.fromkeys(r for c in run.cells if c.run == name for r in run.optimised(c))
    return next(iter(paid)) if len(paid) == 1 and not run.is_preference(next(iter(paid))) else ""


def _r1_arms(run: RunData) -> list[tuple[float, str]]:
    """Weights of R1, ascending, and the family of each, for the encoders with the most weights."""
    found: dict[tuple[str, ...], dict[float, str]] = {}
    for name in run.runs:
        reward = run.reward_record(_paid(run, name))
        weight = reward.report.get("r1")
        if isinstance(weight, int | float) and not reward.encoder_training:
            found.setdefault(reward.encoders, {}).setdefault(float(weight), name)
    largest = max(found.values(), key=len, default={})
    return sorted(largest.items())
