"""Preference gains in standard deviations of the base's samples: per run (Figure 7), against lambda (19)."""

from __future__ import annotations

import math

import numpy as np

from drlbench.report.effects import preference_gain
from drlbench.report.figures.style import (
    DAGGER,
    MUTED,
    Picture,
    error_bars,
    footnote,
    label_ends,
    lambda_axis,
    new_figure,
    reward_name,
    run_styles,
    weighted,
    widen,
)
from drlbench.report.fronts import BASE
from drlbench.report.rundata import RunData


def gains(run: RunData, guidance: str) -> list[Picture]:
    """Every run and lambda, one panel per preference reward: what the samples gained over the base."""
    rewards = [r for r in run.rewards if run.is_preference(r)]
    rows = [(b, n, v) for b in run.backbones for n in run.runs if n != BASE for v in run.lambdas(b, n)]
    if not rewards or not rows or BASE not in run.runs:
        return []
    look = run_styles(run)
    figure, grid = new_figure(1.8 + 2.8 * len(rewards), max(1.7, 0.8 + 0.2 * len(rows)), 1, len(rewards))
    for r, (axes, reward) in enumerate(zip(grid[0], rewards, strict=True)):
        for i, (backbone, name, lambda_) in enumerate(rows):
            gain = preference_gain(run, backbone, name, lambda_, guidance, reward)
            e, style = gain.estimate, look[name]
            if not math.isfinite(e.value):
                continue
            if math.isfinite(e.low):
                axes.plot([e.low, e.high], [-i, -i], color=style.light, lw=3, alpha=0.45, solid_capstyle="butt")
            face = "white" if gain.held_out else style.light
            axes.plot([e.value], [-i], style.marker, color=style.light, mfc=face, ms=5.5)
        axes.axvline(0, color=MUTED, lw=1, ls=":")
        names = [f"{b}: " * (len(run.backbones) > 1) + (n if v is None else f"{n} λ={v:g}") for b, n, v in rows]
        axes.set_yticks(-np.arange(len(rows)), names if r == 0 else [], fontsize=7.5)
        axes.set_ylim(-len(rows) + 0.4, 0.6)
        axes.set_title(reward_name(run, reward), loc="left")
        axes.set_xlabel("gain (σ of base)")
    note = f"Hollow: the run was not trained on this reward. {DAGGER} no run was. Bars: 95 %. Guidance: {guidance}."
    footnote(figure, note)
    caption = "Gain in each preference reward over the base, in standard deviations of its samples"
    return [Picture("preference_gain", caption, figure)]


def gains_against_lambda(run: RunData, guidance: str) -> list[Picture]:
    """The same gains against lambda (the paper's Figure 19)."""
    rewards = [r for r in run.rewards if run.is_preference(r)]
    swept = weighted(run)
    if not rewards or not swept or BASE not in run.runs:
        return []
    look = run_styles(run)
    rows, columns = len(run.backbones), len(rewards)
    figure, grid = new_figure(0.6 + 3.4 * columns, 0.5 + 2.6 * rows, rows, columns)
    for backbone, line in zip(run.backbones, grid, strict=True):
        for reward, axes in zip(rewards, line, strict=True):
            ends: list[tuple[float, float, str, str]] = []
            for name in swept:
                lambdas = [v for v in run.lambdas(backbone, name) if v is not None]
                found = [preference_gain(run, backbone, name, v, guidance, reward) for v in lambdas]
                kept = [(v, g) for v, g in zip(lambdas, found, strict=True) if math.isfinite(g.estimate.value)]
                if not kept:
                    continue
                dash = "--" if kept[0][1].held_out else "-"
                estimates = [g.estimate for _, g in kept]
                error_bars(axes, [v for v, _ in kept], estimates, look[name].light, look[name].marker, dash)
                ends.append((kept[-1][0], estimates[-1].value, name, look[name].light))
            axes.axhline(0, color=MUTED, lw=1, ls=":")
            title = reward_name(run, reward)
            axes.set_title(f"{backbone}: {title}" if rows > 1 else title, loc="left")
            axes.set_ylabel("gain (σ of base)" if reward == rewards[0] else "")
            if ends:
                lambda_axis(axes, [v for n in swept for v in run.lambdas(backbone, n) if v is not None])
                widen(axes, 0.4)
                label_ends(axes, ends)
    note = f"Dashed: the run was not trained on this reward. {DAGGER} no run was. Bars: 95 %. Guidance: {guidance}."
    footnote(figure, note)
    return [Picture("preference_lambda", "Preference gain against the weight of the reward", figure)]
