"""Toys in the plane: where a model's mass lies, and how much is off the data (in the spirit of Figures 2 and 3).

points.npz holds the samples. A sample is off the data when its nearest held-out point is farther away than 99 % of the
held-out points have theirs.

Shapes: n samples, m held-out points.
"""

from __future__ import annotations

import zipfile

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from drlbench.errors import IntegrityError
from drlbench.frontier.uncertainty import NORMAL_95, Estimate
from drlbench.report.effects import mean_over_seeds
from drlbench.report.figures.style import (
    Ends,
    Picture,
    error_bars,
    footnote,
    label_ends,
    lambda_axis,
    new_figure,
    run_styles,
    settle,
    widen,
)
from drlbench.report.fronts import BASE
from drlbench.report.rundata import CellKey, RunData
from drlbench.report.summary import plain_guidance

POINTS = "points.npz"
ON, OFF = "#0067a3", "#b84500"
Points = NDArray[np.float64]  # (n, 2)


def read_points(run: RunData) -> dict[str, Points]:
    """`{cell id}|{guidance}` and `data|none` to points on the plane [-1, 1] x [-1, 1]; empty when the run is no toy.

    Raises:
        IntegrityError: the file is not what a run writes.
    """
    path = run.path / POINTS
    if not path.is_file():
        return {}
    try:
        with np.load(path, allow_pickle=False) as kept:
            return {name: kept[name].reshape(-1, 2) / 255 * 2 - 1 for name in kept.files}
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise IntegrityError(f"{path}: cannot be read ({error}); run `drlbench run` again to write it anew") from error


def off_data(points: Points, data: Points) -> NDArray[np.bool_]:
    """Whether each point (n,) lies off the data (m, 2)."""
    tree = cKDTree(data)
    own = np.asarray(tree.query(data, k=2)[0])[:, 1]  # (m,)
    return np.asarray(tree.query(points)[0]) > np.quantile(own, 0.99)


def _share(off: NDArray[np.bool_]) -> Estimate:
    """The share that is off, with its normal 95 % interval."""
    p = float(off.mean())
    half = NORMAL_95 * float(np.sqrt(p * (1 - p) / len(off)))
    return Estimate(p, p - half, p + half, float("nan"), float("nan"), 1)


def shift(run: RunData) -> list[Picture]:
    """Figure 2: a preference of growing weight, from the base and from the DRL model."""
    swept = [n for n in run.runs if any(len(run.lambdas(b, n)) > 1 for b in run.backbones)]
    return [*densities(run, "toy_shift"), *off_against_lambda(run, swept)] if swept else []


def geometry(run: RunData) -> list[Picture]:
    """Figure 3: more flow matching beside DRL, towards the same optimum."""
    return densities(run, "toy_geometry") if "sft" in run.runs else []


def _samples(run: RunData, cell: CellKey, points: dict[str, Points]) -> Points | None:
    return points.get(f"{cell.id}|{plain_guidance(run)}")


def densities(run: RunData, name: str) -> list[Picture]:
    """Every cell's samples: families with one lambda in the first row, each other family in a row of its own."""
    points = read_points(run)
    data = points.get("data|none")
    if data is None:
        return []
    pictures = []
    for backbone in run.backbones:
        first: list[CellKey] = []
        rows: list[list[CellKey]] = []
        for family in run.runs:
            cells = [run.seeds(backbone, family, w)[0] for w in run.lambdas(backbone, family)]
            shown = [c for c in cells if _samples(run, c, points) is not None]
            if len(shown) > 1:
                rows.append(shown)
            else:
                first += shown
        columns = max(len(first) + 1, *(len(r) for r in rows)) if rows else len(first) + 1
        figure, grid = new_figure(2.15 * columns, 2.4 * (1 + len(rows)) + 0.5, 1 + len(rows), columns)
        for axes in (a for line in grid for a in line):
            axes.set_axis_off()
        _scatter(grid[0][0], data, np.zeros(len(data), bool), f"data ({len(data):,} held-out points)")
        for line, cells in zip(grid, [first, *rows], strict=True):
            for axes, cell in zip(line[1:] if cells is first else line, cells, strict=False):
                own = _samples(run, cell, points)
                assert own is not None
                off = off_data(own, data)
                weight, e = "" if cell.lambda_ is None else f" λ={cell.lambda_:g}", _share(off)
                _scatter(axes, own, off, f"{cell.run}{weight}: {e.value:.1%} ± {e.high - e.value:.1%} off")
        footnote(
            figure,
            f"{backbone}, first seed. Orange crosses: off the data, farther from the nearest held-out point than 99 % "
            "of the held-out points are from theirs (with its 95 % interval). Blue: on it.",
        )
        caption = f"Samples of {backbone} in the plane for every run, those off the data marked"
        pictures.append(Picture(name, caption, figure))
    return pictures


def _scatter(axes: Axes, points: Points, off: NDArray[np.bool_], title: str) -> None:
    axes.set_axis_on()
    axes.scatter(points[~off, 0], points[~off, 1], s=1.2, color=ON, alpha=0.35, lw=0, rasterized=True)
    axes.scatter(points[off, 0], points[off, 1], s=5, color=OFF, marker="x", lw=0.5, alpha=0.8, rasterized=True)
    axes.set_xlim(-1.03, 1.03)
    axes.set_ylim(-1.03, 1.03)
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(title, loc="left", fontsize=8)


def off_against_lambda(run: RunData, families: list[str]) -> list[Picture]:
    """Share of samples off the data against lambda, and against the preference reward that was bought with it."""
    points = read_points(run)
    data, reward = points.get("data|none"), next((r for r in run.rewards if run.is_preference(r)), "")
    if data is None:
        return []
    look = run_styles(run)
    figure, grid = new_figure(8.2, 3.0, 1, 2)
    left, right = grid[0]
    ends: tuple[Ends, Ends] = ([], [])
    backbone = run.backbones[0]
    for family in families:
        cells = [run.seeds(backbone, family, w)[0] for w in run.lambdas(backbone, family)]
        found = [(c, _share(off_data(own, data))) for c in cells if (own := _samples(run, c, points)) is not None]
        if not found:
            continue
        style = look[family]
        weights = [c.lambda_ or 0.0 for c, _ in found]
        error_bars(left, weights, [s for _, s in found], style.light, style.marker)
        ends[0].append((weights[-1], found[-1][1].value, family, style.light))
        if reward:
            gained = [
                mean_over_seeds(run, backbone, family, c.lambda_, plain_guidance(run), "", reward).value
                for c, _ in found
            ]
            error_bars(right, gained, [s for _, s in found], style.light, style.marker)
            ends[1].append((gained[-1], found[-1][1].value, family, style.light))
    for family in [n for n in run.runs if n not in families]:
        for cell in run.seeds(backbone, family, run.lambdas(backbone, family)[0]):
            own = _samples(run, cell, points)
            if own is None:
                continue
            share, style = _share(off_data(own, data)), look[family]
            left.axhline(share.value, color=style.light, lw=1, ls="--" if family != BASE else ":")
            ends[0].append((max(left.get_xlim()), share.value, family, style.light))
            if reward:
                level = mean_over_seeds(run, backbone, family, cell.lambda_, plain_guidance(run), "", reward).value
                error_bars(right, [level], [share], style.light, style.marker)
                ends[1].append((level, share.value, family, style.light))
    lambda_axis(left, [w for n in families for w in run.lambdas(backbone, n) if w is not None])
    left.set_ylabel("share of samples off the data")
    right.set_xlabel(f"mean {reward} (more is preferred)")
    for axes in (left, right):
        widen(axes, 0.35)
        axes.set_ylim(bottom=0)
    footnote(figure, f"{backbone}, first seed. Bars: 95 % interval over the samples.")
    settle(figure)
    for axes, named in zip((left, right), ends, strict=True):
        label_ends(axes, named)
    return [Picture("toy_shift_off_data", "Share of samples off the data against the weight of the preference", figure)]
