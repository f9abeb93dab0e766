"""Frontiers: preference against FD, image drift and KL; held-out against optimised reward."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from drlbench.frontier.pareto import Floats, attainment, non_dominated
from drlbench.report.figures.style import (
    DAGGER,
    MUTED,
    Named,
    Picture,
    crammed,
    fd_name,
    file_name,
    footnote,
    log_ticks,
    new_figure,
    reward_name,
    run_styles,
    settle_and_name,
)
from drlbench.report.fronts import BASE, Axis, Front, axes, shown
from drlbench.report.headline import preference_families
from drlbench.report.rundata import SUBSET, RunData
from drlbench.report.summary import all_fronts
from drlbench.report.tilt_path import PLAIN, SPARSE, tilt_path
from drlbench.report.words import metric_name

WIDE = 4  # panels in a row


def frontiers(run: RunData, guidance: str) -> list[Picture]:
    """The figures of every subject."""
    return [p for subject in subjects(run) for p in draw(run, guidance, *subject)]


def subjects(run: RunData) -> list[tuple[str, str, list[tuple[Axis, Axis]]]]:
    """(name, caption, pairs of axes) of each figure.

    The one the page opens with; per preference reward one over the FD spaces and one over drifts and KL, of image
    statistics by the paper's protocol alone where the run has them; one of held-out rewards.
    """
    pairs = axes(run)
    found = []
    chosen = [(x, y) for x, y in pairs if x.kind == "fd"]
    judged = [(x, y) for x, y in chosen if run.held_out_space(x.space) and run.held_out_reward(y.metric)] or chosen
    if judged:
        found.append(("frontier", f"Frontier of {judged[0][1].metric} against FD", judged[:1]))
    for reward in dict.fromkeys(y.metric for x, y in pairs if x.kind != "reward"):
        own = [(x, y) for x, y in pairs if y.metric == reward and x.kind != "reward"]
        for kinds, name, words in (
            (("fd",), "fd", "FD in each feature space"),
            (("drift", "kl"), "drift", "drift of image statistics, KL and velocity norms against the base"),
        ):
            chosen = [(x, y) for x, y in own if x.kind in kinds and f"{x.metric}{SUBSET}" not in run.drifts]
            if chosen:
                caption = f"Frontier of {reward} against {words}"
                found.append((f"frontier_{name}_{file_name(reward)}", caption, chosen))
    rewards = [(x, y) for x, y in pairs if x.kind == "reward" and run.is_preference(x.metric)]
    if rewards:
        found.append(("frontier_held_out", "Held-out reward against optimised reward", rewards))
    return found


def draw(run: RunData, guidance: str, name: str, caption: str, pairs: list[tuple[Axis, Axis]]) -> list[Picture]:
    """One figure with a panel per backbone and pair of axes; none where nothing was measured on them."""
    panels = [(b, x, y) for b in run.backbones for x, y in pairs]
    across = min(WIDE, len(pairs))
    per_backbone = -(-len(pairs) // across) * across
    columns = min(WIDE, len(run.backbones)) if len(pairs) == 1 else across
    rows = -(-per_backbone * len(run.backbones) // columns)
    figure, grid = new_figure(0.5 + 3.5 * columns, 0.5 + 3.0 * rows, rows, columns)
    cells = [a for row in grid for a in row]
    for spare in cells[per_backbone * len(run.backbones) :]:
        spare.set_axis_off()
    drawn: list[Named] = []
    several = shading = False
    for b, backbone in enumerate(run.backbones):
        for i in range(per_backbone):
            panel = cells[b * per_backbone + i]
            if i >= len(pairs):
                panel.set_axis_off()
                continue
            _, x, y = panels[b * len(pairs) + i]
            fronts = all_fronts(run, backbone, guidance, x, y)
            several |= any(len(f.seeds) > 1 for f in fronts.values())
            named, shaded = draw_front(run, panel, fronts, x, y)
            shading |= shaded
            drawn.append(named)
            if len(run.backbones) > 1:
                panel.set_title(backbone, loc="left")
    traced = any(tilt_path(run, b, n, x, y) for b, x, y in panels for n in run.runs)
    exact = f"Dotted and hollow: the exact optimum at the same lambdas, without RL{SPARSE}. " if traced else ""
    footnote(
        figure,
        "Large marks: mean over seeds, path in order of lambda (small figures) from the model each run starts from; "
        f"bars 95 %. {'Small: seeds. ' if several else ''}Dashed: joint front. "
        f"{'Shaded: attained by one seed, not by all. ' if shading else ''}{exact}Dotted: real images. "
        f"{DAGGER} held out. Guidance: {guidance}.",
    )
    settle_and_name(figure, drawn)
    return [Picture(name, caption, figure)] if any(panel.paths for panel in drawn) else []


def draw_front(run: RunData, panel: Axes, fronts: dict[str, Front], x: Axis, y: Axis) -> tuple[Named, bool]:
    """Draw every family's path on one panel; returns what is to be named on it, and whether a band was shaded."""
    look = run_styles(run)
    preferred = {n for b in run.backbones for n in preference_families(run, b)}
    means: list[tuple[Floats, float, float]] = []
    named, shaded = Named(panel), False
    for name, f in fronts.items():
        style = look[name]
        seen = (
            np.vectorize(lambda v: shown(run, x, v))(f.values[..., 0]),
            np.vectorize(lambda v: shown(run, y, v))(f.values[..., 1]),
        )
        mx, my = seen[0].mean(axis=0), seen[1].mean(axis=0)  # (P,)
        means += list(zip(f.costs.mean(axis=0), mx, my, strict=True))
        if name in preferred and len(f.seeds) > 1:
            shaded |= _band(panel, f, x, y, style.light)
        if f.replicates.shape[1]:
            draws = f.replicates.mean(axis=0)  # (R, P, 2) costs
            centre = f.costs.mean(axis=0)
            spread = np.percentile(draws - centre, [2.5, 97.5], axis=0)  # (2, P, 2)
            flip = [1 if a.better != "higher" else -1 for a in (x, y)]
            bars = [np.abs(spread[:, :, i][:: flip[i]]) for i in range(2)]
            panel.errorbar(
                mx, my, xerr=bars[0], yerr=bars[1], fmt="none", ecolor=style.light, elinewidth=0.8, alpha=0.6
            )
        above = 3 if name == BASE else 2  # every path starts on the base's mark: it stays in sight
        panel.plot(mx, my, "-", marker=style.marker, color=style.light, ms=5.5, lw=1.4, zorder=above)
        own = [p for p, lam in enumerate(f.lambdas) if lam is not None or len(f.cells) == 1]
        if len(f.seeds) > 1:
            panel.plot(
                seen[0][:, own].ravel(), seen[1][:, own].ravel(), style.marker, color=style.light, ms=2.5, alpha=0.5
            )
        for at, lam in enumerate(f.lambdas):
            if lam is not None:
                named.small.append((float(mx[at]), float(my[at]), f"{lam:g}", style.light))
        optimum = tilt_path(run, f.backbone, name, x, y) if f.guidance == PLAIN else []
        if optimum:
            _, tx, ty = zip(*optimum, strict=True)
            panel.plot(tx, ty, ":", marker="o", mfc="none", color=style.light, ms=3.5, lw=1.0, alpha=0.8, zorder=1)
            named.paths.append(list(zip(tx, ty, strict=True)))
        named.paths.append(list(zip(mx, my, strict=True)))
        named.ends.append((float(mx[-1]), float(my[-1]), name, style.light))
    if not means:
        return named, shaded
    joint = non_dominated(np.array([c for c, _, _ in means]))
    corner = sorted((mx, my) for (_, mx, my), wins in zip(means, joint, strict=True) if wins)
    if len(corner) > 1:
        where = "steps-pre" if x.better == "higher" else "steps-post"
        panel.plot(*zip(*corner, strict=True), drawstyle=where, color=MUTED, lw=0.8, ls="--", zorder=1)
    for axis, line in ((x, panel.axvline), (y, panel.axhline)):
        real = run.data_row(axis.space, axis.metric)
        if real is not None:
            line(0.0 if axis.is_distance else real.value, color=MUTED, lw=0.8, ls=":", zorder=0)
    if x.kind == "fd" and crammed([v for _, v, _ in means]):
        panel.set_xscale("log")
        log_ticks(panel.xaxis)
    panel.margins(x=0.06, y=0.1)
    panel.set_xlabel(axis_title(run, x))
    panel.set_ylabel(axis_title(run, y))
    return named, shaded


def _band(panel: Axes, f: Front, x: Axis, y: Axis, colour: str) -> bool:
    """Shade what at least one seed attains and not every seed does; False where there is nothing to shade."""
    surfaces = attainment(list(f.costs), [0.0, 100.0])
    levels = np.unique(np.concatenate([s[:, 0] for s in surfaces.values()]))
    lines = [_step(surfaces[q], levels) for q in (0.0, 100.0)]
    both = np.isfinite(lines[0]) & np.isfinite(lines[1])
    if both.sum() < 2:
        return False
    flip = -1.0 if x.better == "higher" else 1.0
    up = -1.0 if y.better == "higher" else 1.0
    panel.fill_between(
        flip * levels[both], up * lines[0][both], up * lines[1][both], step="post", color=colour, alpha=0.12, lw=0
    )
    return True


def _step(surface: Floats, levels: Floats) -> Floats:
    reached = surface[None, :, 0] <= levels[:, None]
    stepped: Floats = np.where(reached, surface[None, :, 1], np.inf).min(axis=1, initial=np.inf)
    return stepped


def axis_title(run: RunData, axis: Axis) -> str:
    """An axis in a figure, with the direction that is better."""
    if axis.kind == "fd":
        return f"{fd_name(run, axis.space)} (lower is better)"
    if axis.kind == "drift":
        return f"{metric_name(axis.metric)}: distance from real images"
    if axis.kind == "kl" and axis.is_distance:
        return f"{metric_name(axis.metric)}: distance from 1"
    if axis.kind == "kl":
        return "KL from the reference model (nats)"
    return f"{reward_name(run, axis.metric)} ({'held out' if run.held_out_reward(axis.metric) else 'optimised'})"
