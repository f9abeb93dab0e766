"""The exact optimum's own path over lambda, to be drawn beside the family that aims at it.

What a family could reach at each lambda without any error of training: the `tilt_*` rows of its cells. RL seeds of one
base share a tilt; with several bases a point is their mean. An estimated FD is biased upwards as 1/n, and a tilt's n is
its effective one: where that is far below a cell's, its distances are not drawn beside the cell's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np

from drlbench.report.fronts import Axis
from drlbench.report.rundata import CellKey, RunData

PREFIX = "tilt_"
TILT_GAIN = f"{PREFIX}fd_gain"
PLAIN = "none"  # the guidance under which a run writes its tilt
COMPARABLE = 1 / 3  # effective samples of a tilt for one of a cell: below, its FD has over three times the cell's bias
SPARSE = f" (its FD where it rests on at least {100 * COMPARABLE:.0f} % as many effective samples as a cell)"


def tilt_points(
    run: RunData, backbone: str, name: str, axes: Iterable[Axis]
) -> Iterator[tuple[float, dict[str, float]]]:
    """Per lambda, ascending, the tilt's value on every axis (by key) that it has one on.

    Weighted samples say nothing about image statistics. A KL counts from the model that weights are put on, so a family
    that starts from another run's has none.
    """
    looked = [axis for axis in axes if axis.kind in ("fd", "reward", "kl")]
    for lambda_ in run.lambdas(backbone, name):
        cells = {c.base_seed: c for c in run.seeds(backbone, name, lambda_)}.values()  # one of each base
        values = {a.key: float(np.mean([_value(run, c, a) for c in cells])) for a in looked}
        if lambda_ is not None and (known := {k: v for k, v in values.items() if math.isfinite(v)}):
            yield lambda_, known


def tilt_path(run: RunData, backbone: str, name: str, x: Axis, y: Axis) -> list[tuple[float, float, float]]:
    """(lambda, x, y) of the lambdas where the tilt has both."""
    found = tilt_points(run, backbone, name, (x, y))
    return [(lam, at[x.key], at[y.key]) for lam, at in found if x.key in at and y.key in at]


def _distance_stands(run: RunData, cell: CellKey, space: str) -> bool:
    """Whether a cell's tilt rests on enough samples for its FD to stand beside the cell's own."""
    share = run.row(cell, PLAIN, "", f"{PREFIX}effective_share")
    own = run.row(cell, PLAIN, space, "fd")
    return share is not None and own is not None and share.value * share.n >= COMPARABLE * own.n


def _value(run: RunData, cell: CellKey, axis: Axis) -> float:
    if axis.kind == "kl" and run.cell_record(cell).start is not None:
        return float("nan")
    if axis.kind == "fd" and not _distance_stands(run, cell, axis.space):
        return float("nan")
    row = run.row(cell, PLAIN, axis.space, f"{PREFIX}{axis.metric}")
    return float("nan") if row is None else row.value
