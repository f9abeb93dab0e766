"""Against the guidance scale: preference rewards (the paper's Figure 24) and FD (25)."""

from __future__ import annotations

import math

from drlbench.report.effects import mean_over_seeds
from drlbench.report.figures.style import (
    DAGGER,
    Ends,
    Picture,
    fd_name,
    footnote,
    label_ends,
    new_figure,
    reward_name,
    run_styles,
    widen,
)
from drlbench.report.headline import headline_lambda
from drlbench.report.rundata import RunData
from drlbench.report.summary import plain_guidance

LEAST_SCALES = 3


def scales(run: RunData) -> dict[tuple[float, float], list[tuple[float, str]]]:
    """Guidance names by interval, sorted by scale; a scale of 1 belongs to every interval."""
    found = {r.guidance: (r.cfg or 1.0, r.cfg_low or 0.0, 1.0 if r.cfg_high is None else r.cfg_high) for r in run.rows}
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
    look = run_styles(run)
    rows, columns = len(run.backbones), len(numbers)
    figure, grid = new_figure(0.6 + 3.4 * columns, 0.5 + 2.6 * rows, rows, columns)
    for backbone, line in zip(run.backbones, grid, strict=True):
        for (space, metric, title), axes in zip(numbers, line, strict=True):
            ends: Ends = []
            for family in [n for n in run.runs if run.lambdas(backbone, n)]:
                lambda_ = headline_lambda(run, backbone, family, plain_guidance(run))
                for dash, names in zip(("-", "--", ":"), usable.values(), strict=False):
                    es = [(c, mean_over_seeds(run, backbone, family, lambda_, g, space, metric)) for c, g in names]
                    kept = [(c, e.value) for c, e in es if math.isfinite(e.value)]
                    if len(kept) > 1:
                        x, y = zip(*kept, strict=True)
                        style = look[family]
                        axes.plot(x, y, dash, marker=style.marker, color=style.light, ms=4, lw=1.3, mfc="white")
                        ends += [(x[-1], y[-1], family, style.light)] if dash == "-" else []
            axes.set_title(f"{backbone}: {title}" if rows > 1 else title, loc="left")
            axes.set_xlabel("guidance scale")
            widen(axes, 0.35)
            label_ends(axes, ends)
    dashes = zip(("solid", "dashed", "dotted"), usable, strict=False)
    told = ", ".join(f"{dash} [{low:g}, {high:g}]" for dash, (low, high) in dashes)
    footnote(figure, f"Guidance acts in the interval: {told}. One lambda per run. {DAGGER} held out.")
    return [Picture(name, caption, figure)]
