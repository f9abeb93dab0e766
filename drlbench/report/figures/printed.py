"""Figures 5, 6, 7 and 11 of arXiv 2606.19162v1 from the numbers printed in its Tables 2-5 alone.

The tables print lambda 1 and the best lambda only, so Figure 6 has two points a line; the standard deviation of the
base's rewards is not printed, so Figure 7 shows plain gains in each reward's own unit.
"""

from __future__ import annotations

import numpy as np

from drlbench.report.figures.ablation import COLOURS, MARKERS, heat_map
from drlbench.report.figures.style import MUTED, Ends, Picture, footnote, label_ends, log_ticks, new_figure, widen
from drlbench.report.published import published

SOURCE = "Printed numbers of arXiv 2606.19162v1, Table"
DRL = {"drl_lambda1": "λ = 1", "drl_best_lambda": "best λ"}


def printed_value(table: str, setting: str, backbone: str, space: str, method: str, metric: str) -> float:
    """A printed number, NaN where none was printed."""
    key = (table, setting, backbone, space, method, metric)
    for p in published():
        if (p.table, p.setting, p.backbone, p.feature_space, p.method, p.metric) == key:
            return float(p.value)
    return float("nan")


def _names(table: str) -> tuple[list[str], list[str]]:
    """Backbones and feature spaces of a table, in the order printed."""
    found = [p for p in published() if p.table == table]
    return list(dict.fromkeys(p.backbone for p in found)), list(dict.fromkeys(p.feature_space for p in found))


def fd_ratio_dots() -> Picture:
    """Figure 5: FD of the base over FD after DRL, per model and space, without guidance and at the best guidance."""
    backbones, spaces = _names("2")
    figure, grid = new_figure(9.5, 3.6, 1, 2)
    panels = (("2", "no_cfg", "no guidance"), ("3", "best_cfg", "best guidance"))
    for axes, (table, setting, title) in zip(grid[0], panels, strict=True):
        ticks = []
        for b, backbone in enumerate(backbones):
            for s, space in enumerate(spaces):
                y = -(b * (len(spaces) + 1) + s)
                ticks.append((y, f"{backbone} {space}"))
                base = printed_value(table, setting, backbone, space, "base", "fd")
                ratios = [base / printed_value(table, setting, backbone, space, m, "fd") for m in DRL]
                axes.plot(ratios, [y, y], color=COLOURS[s], lw=1, alpha=0.6)
                axes.plot(ratios[:1], [y], MARKERS[s], color=COLOURS[s], mfc="white", ms=5)
                axes.plot(ratios[1:], [y], MARKERS[s], color=COLOURS[s], ms=5)
        axes.axvline(1, color=MUTED, lw=1, ls=":")
        axes.set_xscale("log")
        axes.set_xticks([1, 1.5, 2, 3, 5], ["1x", "1.5x", "2x", "3x", "5x"])
        axes.minorticks_off()
        axes.set_yticks([t for t, _ in ticks], [n for _, n in ticks] if table == "2" else [], fontsize=7)
        axes.grid(axis="y", visible=False)
        axes.set_title(title, loc="left")
        axes.set_xlabel("FD of base / FD after DRL")
    footnote(figure, f"{SOURCE}s 2 and 3. Hollow: lambda 1. Filled: the best lambda of each cell.")
    return Picture("published_05", "Published FD ratios per model and space, without and with guidance", figure)


def fd_and_path() -> list[Picture]:
    """Figure 6: FD against lambda (the two printed lambdas), and the path in precision and coverage."""
    backbones, spaces = _names("2")
    figure, grid = new_figure(11, 3.0, 1, len(spaces))
    path, path_grid = new_figure(11, 3.0, 1, len(spaces))
    for j, space in enumerate(spaces):
        ends: Ends = []
        path_ends: Ends = []
        for i, backbone in enumerate(backbones):
            methods = ["base", *DRL]
            here = [p for p in published() if (p.table, p.backbone, p.feature_space) == ("2", backbone, space)]
            lam = {p.method: p.lam for p in here}
            fd, precision, coverage = (
                [printed_value("2", "no_cfg", backbone, space, m, metric) for m in methods]
                for metric in ("fd", "precision", "coverage")
            )
            x = [0.5, *(float(lam[m]) for m in DRL)]
            grid[0][j].plot(x, fd, marker=MARKERS[i], color=COLOURS[i], mfc="white", lw=1.2)
            ends.append((x[-1], fd[-1], backbone, COLOURS[i]))
            path_grid[0][j].plot(precision, coverage, marker=MARKERS[i], color=COLOURS[i], mfc="white", lw=1.2)
            path_ends.append((precision[-1], coverage[-1], backbone, COLOURS[i]))
        for axes in (grid[0][j], path_grid[0][j]):
            axes.set_title(space, loc="left")
        grid[0][j].set_xscale("log")
        grid[0][j].set_yscale("log")
        log_ticks(grid[0][j].yaxis)
        grid[0][j].set_xticks([0.5, 1, 5, 10, 20], ["base", "1", "5", "10", "20"])
        grid[0][j].minorticks_off()
        grid[0][j].set_xlabel("lambda")
        path_grid[0][j].set_xlabel("precision")
        widen(grid[0][j], 0.35)
        widen(path_grid[0][j], 0.3)
        label_ends(grid[0][j], ends)
        label_ends(path_grid[0][j], path_ends)
    grid[0][0].set_ylabel("FD, no guidance")
    path_grid[0][0].set_ylabel("coverage, no guidance")
    footnote(figure, f"{SOURCE} 2: base, lambda 1 and the best lambda of each cell; no other lambda is printed.")
    footnote(path, f"{SOURCE} 2: base, lambda 1, best lambda; the name is at the best lambda.")
    return [
        Picture("published_06_fd", "Published FD of the base, at lambda 1 and at the best lambda", figure),
        Picture("published_06_path", "Published path of precision and coverage from the base to the best lambda", path),
    ]


def preference_gains() -> Picture:
    """Figure 7: gain of each preference reward at lambda 10, without guidance and with tuned guidance."""
    found = [p for p in published() if p.table == "4"]
    backbones, rewards = list(dict.fromkeys(p.backbone for p in found)), list(dict.fromkeys(p.metric for p in found))
    figure, grid = new_figure(10.5, 2.4, 1, len(rewards))
    for axes, reward in zip(grid[0], rewards, strict=True):
        for i, backbone in enumerate(backbones):
            for setting, face in (("no_cfg", COLOURS[i]), ("best_cfg", "white")):
                after, before = (printed_value("4", setting, backbone, "", m, reward) for m in ("drl_lambda10", "base"))
                axes.plot([after - before], [-i], MARKERS[i], color=COLOURS[i], mfc=face, ms=6)
        axes.axvline(0, color=MUTED, lw=1, ls=":")
        axes.set_yticks(-np.arange(len(backbones)), backbones if reward == rewards[0] else [])
        axes.set_ylim(-len(backbones) + 0.4, 0.6)
        axes.set_title(reward, loc="left")
        axes.set_xlabel("gain (reward's unit)")
    footnote(figure, f"{SOURCE} 4, DRL at lambda 10. Filled: no guidance. Hollow: tuned guidance. No sigma is printed.")
    return Picture("published_07", "Published gains in each preference reward after DRL", figure)


def encoder_table() -> Picture:
    """Figure 11: FD of REPA by encoder of the discriminator (Table 5)."""
    found = [p for p in published() if p.table == "5" and p.metric == "fd"]
    methods, spaces = list(dict.fromkeys(p.method for p in found)), list(dict.fromkeys(p.feature_space for p in found))
    table = [[printed_value("5", "no_cfg", "REPA", s, m, "fd") for s in spaces] for m in methods]
    labels = [m.partition("disc=")[2] or m for m in methods]
    return heat_map(table, labels, spaces, "published_11", "REPA (published)")


def all_printed() -> list[Picture]:
    """Every figure the printed numbers can make."""
    return [fd_ratio_dots(), *fd_and_path(), preference_gains(), encoder_table()]
