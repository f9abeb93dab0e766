"""Against the guidance scale: preference rewards (the paper's Figure 24) and FD (25)."""

from __future__ import annotations

import math

from matplotlib.axes import Axes

from drlbench.report.effects import mean_over_seeds
from drlbench.report.figures.style import (
    DAGGER,
    Ends,
    Picture,
    error_bars,
    fd_name,
    file_name,
    footnote,
    label_ends,
    new_figure,
    reward_name,
    run_styles,
    settle,
    widen,
)
from drlbench.report.headline import headline_lambda
from drlbench.report.rundata import RunData
from drlbench.report.summary import plain_guidance

LEAST_SCALES = 3


def scales(run: RunData) -> dict[tuple[float, float], list[tuple[float, str]]]:
    """Names of classifier-free guidances by interval, sorted by scale; a scale of 1 belongs to every interval."""
    apart = {g.name for g in run.record.guidances if g.guide}
    found = {
        r.guidance: (r.cfg or 1.0, r.cfg_low or 0.0, 1.0 if r.cfg_high is None else r.cfg_high)
        for r in run.rows
        if r.guidance not in apart
    }
    intervals = {(low, high) for cfg, low, high in found.values() if cfg != 1.0}
    return {
        i: sorted((cfg, name) for name, (cfg, *own) in found.items() if cfg == 1.0 or tuple(own) == i)
        for i in sorted(intervals)
    }


def reward_against_scale(run: RunData) -> list[Picture]:
    """Each preference reward against the guidance scale, base and every other family at its one lambda."""
    rewards = [("", r, reward_name(run, r)) for r in run.rewards if run.is_preference(r)]
    return _panels(run, rewards, "guidance_reward", "Preference rewards against the guidance scale")


def fd_against_scale(run: RunData) -> list[Picture]:
    """FD in every space against the guidance scale."""
    spaces = [(s, "fd", fd_name(run, s)) for s in run.spaces]
    return _panels(run, spaces, "guidance_fd", "FD against the guidance scale")


def _panels(run: RunData, numbers: list[tuple[str, str, str]], name: str, caption: str) -> list[Picture]:
    usable = {i: s for i, s in scales(run).items() if len(s) >= LEAST_SCALES}
    if not usable or not numbers:
        return []
    pictures = []
    for backbone in run.backbones:
        # Rows are intervals: three dashes and several families in one panel cannot be told apart.
        figure, grid = new_figure(0.8 + 2.9 * len(numbers), 0.6 + 2.2 * len(usable), len(usable), len(numbers))
        panels = []
        for ((low, high), names), line in zip(usable.items(), grid, strict=True):
            for column, ((space, metric, title), axes) in enumerate(zip(numbers, line, strict=True)):
                ends = _families(run, axes, backbone, names, space, metric)
                axes.set_title(title if (low, high) == next(iter(usable)) else "", loc="left")
                axes.set_ylabel("" if column else f"guided in t [{low:g}, {high:g}]")
                axes.set_xlabel("guidance scale" if (low, high) == list(usable)[-1] else "")
                widen(axes, 0.4)
                panels.append((axes, ends))
        footnote(
            figure,
            f"{backbone}. One lambda per run, the best unguided. Bars 95 % sampling interval. {DAGGER} held out.",
        )
        settle(figure)
        for axes, ends in panels:
            label_ends(axes, ends)
        pictures.append(Picture(f"{name}_{file_name(backbone)}", f"{caption}, {backbone}", figure))
    return pictures


def _families(run: RunData, axes: Axes, backbone: str, names: list[tuple[float, str]], space: str, metric: str) -> Ends:
    """One line per family over the scales of one interval."""
    look, ends = run_styles(run), []
    for family in [n for n in run.runs if run.lambdas(backbone, n)]:
        lambda_ = headline_lambda(run, backbone, family, plain_guidance(run))
        es = [(c, mean_over_seeds(run, backbone, family, lambda_, g, space, metric)) for c, g in names]
        kept = [(c, e) for c, e in es if math.isfinite(e.value)]
        if len(kept) > 1:
            style = look[family]
            error_bars(axes, [c for c, _ in kept], [e for _, e in kept], style.light, style.marker)
            ends.append((kept[-1][0], kept[-1][1].value, family, style.light))
    return ends
