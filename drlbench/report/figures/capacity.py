"""Gain against capacity: what each family gains over the base as the base grows, and what the exact optimum would.

Drawn where one architecture is there in three sizes or more. A reward that corrects flow matching gains at every size;
one that stands in for a larger network stops gaining where plain training does as well.
"""

from __future__ import annotations

import math
from collections import defaultdict

from drlbench.report.effects import bounds, fd_ratio, mean_over_seeds
from drlbench.report.figures.style import (
    DAGGER,
    MUTED,
    Picture,
    fd_name,
    footnote,
    label_ends,
    new_figure,
    run_styles,
    settle,
    widen,
)
from drlbench.report.fronts import BASE
from drlbench.report.headline import headline_lambda
from drlbench.report.rundata import RunData
from drlbench.report.tilt_path import PLAIN, TILT_GAIN

SIZES = 3


def by_capacity(run: RunData, guidance: str) -> list[Picture]:
    """One picture per family of backbones that differ in their number of weights; none where no family has three."""
    families: dict[str, dict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
    for backbone in run.record.backbones:
        if backbone.family and backbone.parameters and backbone.name in run.backbones:
            families[backbone.family][backbone.parameters].append(backbone.name)
    if not run.spaces:
        return []
    drawn = (_picture(run, guidance, *item) for item in families.items() if len(item[1]) >= SIZES)
    return [picture for picture in drawn if picture]


def _picture(run: RunData, guidance: str, family: str, alike: dict[int, list[str]]) -> Picture | None:
    """Of several backbones with the same number of weights the first is drawn, and the picture names the others."""
    sizes = {count: found[0] for count, found in sorted(alike.items())}
    left_out = [f"{', '.join(found[1:])} (as large as {found[0]})" for _, found in sorted(alike.items()) if found[1:]]
    names = [n for n in run.runs if n != BASE]
    figure, grid = new_figure(0.6 + 3.6 * len(run.spaces), 4.0, 1, len(run.spaces))
    look, drawn = run_styles(run), []
    for space, axes in zip(run.spaces, grid[0], strict=True):
        ends: list[tuple[float, float, str, str]] = []
        for name in names:
            gained, attainable = [], []
            for count, backbone in sizes.items():
                lambda_ = headline_lambda(run, backbone, name, guidance) if run.lambdas(backbone, name) else None
                found = fd_ratio(run, backbone, name, lambda_, guidance, space).estimate
                if math.isfinite(found.value):
                    gained.append((float(count), found.value))
                    low, high = bounds(found)
                    if math.isfinite(low):
                        axes.plot([count, count], [low, high], color=look[name].light, lw=0.9, alpha=0.6)
                optimum = mean_over_seeds(run, backbone, name, lambda_, PLAIN, space, TILT_GAIN).value
                if math.isfinite(optimum):
                    attainable.append((float(count), optimum))
            colour = look[name].light
            for trail, style, label in ((gained, "-", name), (attainable, ":", f"{name}, exact")):
                if len(trail) > 1:
                    x, y = zip(*trail, strict=True)
                    marker = look[name].marker if style == "-" else None
                    axes.plot(x, y, style, marker=marker, color=colour, ms=5, mfc="white", lw=1.2)
                    ends.append((x[-1], y[-1], label, colour))
        axes.axhline(1.0, color=MUTED, lw=0.8, ls="--", zorder=0)
        axes.set_xscale("log")
        axes.set_yscale("log")
        marks = [
            v for v in (0.25, 0.5, 0.67, 0.8, 1, 1.25, 1.5, 2, 3, 4, 6) if axes.get_ylim()[0] <= v <= axes.get_ylim()[1]
        ]
        axes.set_yticks(marks, [f"{v:g}x" for v in marks])
        axes.set_xticks(list(sizes), [f"{count / 1000:.3g}k" for count in sizes], fontsize=8)
        axes.minorticks_off()
        widen(axes, 0.3)
        axes.set_xlabel("weights of the base")
        axes.set_ylabel("FD base / FD run" if space == run.spaces[0] else "")
        axes.set_title(fd_name(run, space), loc="left")
        drawn.append((axes, ends))
    if not any(ends for _, ends in drawn):
        return None
    footnote(
        figure,
        "Above 1 is better than the base of that size. Solid: geometric mean over seeds, bars 95 % over seeds where "
        "there are several, over samples otherwise. Dotted: the exact optimum of the first round, its start having as "
        f"few samples as its effective ones. {DAGGER} held out. Guidance: {guidance}."
        + (f" Not drawn: {'; '.join(left_out)}." if left_out else ""),
    )
    settle(figure)
    for axes, ends in drawn:
        label_ends(axes, ends)
    return Picture(f"capacity_{family}", f"What is gained over the base as a {family} network grows", figure)
