"""From a run's rows to fronts: which pairs of numbers make a frontier, and each family's points on it.

A family's front holds its points over lambda and, as the end where the preference weighs nothing, the model it starts
from: `base` for `base+prl`, `drl` at the lambda it was continued from for `drl+prl`, `drl` at lambda 1 for `combined`.
Only seeds that have every point of the family count, so that no seed's front is shorter than another's.

Shapes: S RL seeds, P points of a family, R replicates.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from drlbench.frontier.pareto import Floats, cost, non_dominated
from drlbench.frontier.uncertainty import recentre
from drlbench.report.rundata import NORM_RATIO, CellKey, RunData

BASE = "base"
FRONTIER_COLUMNS = [
    *("backbone", "run", "lambda", "seed", "guidance", "x_metric", "x_space", "x", "y_metric", "y", "on_front"),
]


@dataclass(frozen=True)
class Axis:
    """One side of a frontier: a metric in a space, or its distance from its best (as of the real images, or 1)."""

    metric: str
    space: str
    better: str
    kind: str

    @property
    def name(self) -> str:
        """The metric's name in frontier.csv."""
        return f"{self.metric}_drift" if self.is_distance else self.metric

    @property
    def is_distance(self) -> bool:
        """Whether a reader sees the distance from the best value, not the value."""
        return self.better == "closer" and self.kind != "other"

    @property
    def key(self) -> str:
        """A name that tells every axis of a run apart."""
        return f"{self.name}@{self.space}" if self.space else self.name


@dataclass(frozen=True)
class Front:
    """A family's points on one pair of axes.

    Attributes:
        cells: P rows of S cells; the seeds of one point.
        values: (S, P, 2) as measured: x, y.
        costs: (S, P, 2) both better when lower.
        replicates: (S, R, P, 2) costs, centred on `costs`; R = 0 when the run kept none.
    """

    backbone: str
    guidance: str
    run: str
    x: Axis
    y: Axis
    cells: tuple[tuple[CellKey, ...], ...]
    values: Floats
    costs: Floats
    replicates: Floats

    @property
    def seeds(self) -> tuple[str, ...]:
        """The seeds, in the order of axis S."""
        return tuple(c.seed for c in max(self.cells, key=lambda point: len({c.seed for c in point})))

    @property
    def lambdas(self) -> tuple[float | None, ...]:
        """The lambda of each point, None for the model the family starts from."""
        return tuple(point[0].lambda_ if point[0].run == self.run else None for point in self.cells)


def axes(run: RunData) -> list[tuple[Axis, Axis]]:
    """Every frontier the results can make.

    y is each preference reward; x is FD in each space, the drift of each image statistic, KL in nats and the drift of
    the velocities' norm. Each reward that nobody optimised is also set against each optimised one.
    """
    metrics = {(r.metric, r.space) for r in run.rows if r.run != "data"}
    sides = [Axis("fd", s, "lower", "fd") for s in run.spaces if ("fd", s) in metrics]
    sides += [Axis(m, "", "closer", "drift") for m in run.drifts if run.data_row("", m) is not None]
    from_base = (Axis("kl_nats", "", "lower", "kl"), Axis(NORM_RATIO, "", "closer", "kl"))
    sides += [axis for axis in from_base if (axis.metric, "") in metrics]
    rewards = {r: Axis(r, "", "higher", "reward") for r in run.rewards}
    pairs = [(x, rewards[y]) for y in run.rewards if run.is_preference(y) for x in sides]
    held_out = [r for r in run.rewards if run.held_out_reward(r)]
    return pairs + [(rewards[x], rewards[y]) for y in held_out for x in run.rewards if x not in held_out]


def axis_cost(run: RunData, axis: Axis, values: Floats) -> Floats:
    """Costs of measured values on an axis (distance from the real images for a drift)."""
    return cost(values, axis.better, run.best(axis.space, axis.metric))


def shown(run: RunData, axis: Axis, value: float) -> float:
    """The number a reader sees: the distance from the best for a drift, the value itself otherwise."""
    return float(axis_cost(run, axis, np.array(value))) if axis.is_distance else value


def lowest(run: RunData, cell: CellKey, guidance: str, axis: Axis) -> float:
    """A cell's measured value on an axis; NaN where nothing was measured.

    From itself a base model has a KL of 0 and a ratio of norms of 1.
    """
    row = run.row(cell, guidance, axis.space, axis.metric)
    if row is None:
        own = run.best(axis.space, axis.metric) if axis.is_distance else 0.0
        return own if axis.kind == "kl" and cell.run == BASE else float("nan")
    return row.value


def start_of(run: RunData, cell: CellKey) -> CellKey | None:
    """The model a cell's preference weight of zero stands for, or None when it cannot be told."""
    named = run.cell_record(cell).start
    if named:
        return next((c for c in run.cells if c.id == named), None)
    if cell.run == "combined":
        at_one = [c for c in run.cells if (c.run, c.backbone, c.lambda_) == ("drl", cell.backbone, 1.0)]
        return _same_seed(at_one, cell)
    first, plus, _ = cell.run.rpartition("+")
    if not plus:
        return run.base_of(cell)
    found = [c for c in run.cells if (c.run, c.backbone) == (first, cell.backbone)]
    return _same_seed(found, cell) if len({c.lambda_ for c in found}) == 1 else None


def _same_seed(candidates: list[CellKey], cell: CellKey) -> CellKey | None:
    exact = [c for c in candidates if c.seed == cell.seed]
    shared = [c for c in candidates if c.run == BASE and c.base_seed == cell.base_seed]
    return next(iter(exact or shared), None)


def family_points(run: RunData, backbone: str, name: str) -> list[dict[str, CellKey]]:
    """A family's points as {seed: cell}: the start first where it is known, then lambda ascending."""
    points = [{c.seed: c for c in run.seeds(backbone, name, lam)} for lam in run.lambdas(backbone, name)]
    seeds = dict.fromkeys(s for p in points for s in p)
    if name != BASE and points and next(iter(points[0].values())).lambda_ is not None:
        some = {s: next(p[s] for p in points if s in p) for s in seeds}
        starts = {s: start for s, cell in some.items() if (start := start_of(run, cell)) is not None}
        points = [starts, *points] if starts else points
    return points


def front(run: RunData, backbone: str, guidance: str, name: str, x: Axis, y: Axis) -> Front | None:
    """A family's front, or None when no seed has a number at every point."""
    points = [p for p in family_points(run, backbone, name) if _measured(run, p, guidance, (x, y))]
    if not points:
        return None
    common = set.intersection(*({s for s, c in p.items() if _finite(run, c, guidance, (x, y))} for p in points))
    seeds = [s for s in dict.fromkeys(s for p in points for s in p) if s in common]
    if not seeds:
        return None
    values = np.array(
        [[[lowest(run, p[s], guidance, axis) for axis in (x, y)] for p in points] for s in seeds]
    )  # (S, P, 2)
    costs = np.stack([axis_cost(run, axis, values[..., i]) for i, axis in enumerate((x, y))], axis=-1)
    draws = [[[_draws(run, p[s], guidance, axis) for axis in (x, y)] for p in points] for s in seeds]
    count = min(len(d) for by_point in draws for by_axis in by_point for d in by_axis if d is not None)
    replicates = np.empty((len(seeds), count, len(points), 2))
    for s, by_point in enumerate(draws):
        for p, by_axis in enumerate(by_point):
            for i, (axis, draw) in enumerate(zip((x, y), by_axis, strict=True)):
                centred = (
                    values[s, p, i] if draw is None else recentre(values[s, p, i], draw[:count]) if count else draw
                )
                replicates[s, :, p, i] = axis_cost(run, axis, np.broadcast_to(centred, count))
    cells = tuple(tuple(p[s] for s in seeds) for p in points)
    return Front(backbone, guidance, name, x, y, cells, values, costs, replicates)


def _draws(run: RunData, cell: CellKey, guidance: str, axis: Axis) -> Floats | None:
    """Replicates of a number, or None for one that has no sampling noise to measure (from the base)."""
    return None if axis.kind == "kl" else run.draws(cell, guidance, axis.space, axis.metric)


def _finite(run: RunData, cell: CellKey, guidance: str, pair: tuple[Axis, Axis]) -> bool:
    return all(np.isfinite(lowest(run, cell, guidance, axis)) for axis in pair)


def _measured(run: RunData, point: dict[str, CellKey], guidance: str, pair: tuple[Axis, Axis]) -> bool:
    return any(_finite(run, c, guidance, pair) for c in point.values())


def frontier_rows(run: RunData) -> Iterator[tuple[object, ...]]:
    """frontier.csv: `backbone,run,lambda,seed,guidance,x_metric,x_space,x,y_metric,y,on_front`.

    `on_front` is judged among all cells of the same backbone, guidance and RL seed (a base model belongs to all seeds
    that grew from it), so that no point is beaten by, or beats, the luck of another seed. Rows without two finite
    numbers are left out.
    """
    for x, y in axes(run):
        for backbone in run.backbones:
            for guidance in run.guidances:
                cells = [c for c in run.cells if c.backbone == backbone and _finite(run, c, guidance, (x, y))]
                values = {c: [lowest(run, c, guidance, axis) for axis in (x, y)] for c in cells}
                winners = _winners(run, values, x, y)
                for c in cells:
                    x_shown, y_shown = shown(run, x, values[c][0]), shown(run, y, values[c][1])
                    yield (
                        *(backbone, c.run, c.lambda_, c.seed, guidance),
                        *(x.name, x.space, x_shown, y.name, y_shown, c in winners),
                    )


def _winners(run: RunData, values: dict[CellKey, list[float]], x: Axis, y: Axis) -> set[CellKey]:
    """Cells on the joint front of their own seed."""
    winners: set[CellKey] = set()
    for seed in dict.fromkeys(c.seed for c in values):
        rivals = [c for c in values if c.seed == seed or (c.run == BASE and c.base_seed == seed.partition(".")[0])]
        points = np.array([values[c] for c in rivals])
        costs = np.stack([axis_cost(run, axis, points[:, i]) for i, axis in enumerate((x, y))], axis=-1)
        winners |= {c for c, wins in zip(rivals, non_dominated(costs), strict=True) if wins}
    return winners
