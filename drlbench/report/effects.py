"""What a run changed against its own base, seed by seed: FD ratios, preference gains, and signs of reward hacking.

Shapes: S RL seeds, R replicates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from drlbench.frontier.pareto import Floats
from drlbench.frontier.uncertainty import NORMAL_95, Estimate, estimate, estimates, recentre
from drlbench.report.fronts import BASE
from drlbench.report.rundata import CellKey, RunData


@dataclass(frozen=True)
class Effect:
    """A family at one lambda against its base.

    Attributes:
        against: "ratio" (base / run, above 1 is better) for FD, "gain" in standard deviations of the base's samples
            for a reward, "change" (run - base) in the metric's own unit otherwise.
        held_out: nothing the family was trained on looks through the space or is the reward.
    """

    backbone: str
    run: str
    lambda_: float | None
    guidance: str
    space: str
    metric: str
    against: str
    held_out: bool
    estimate: Estimate


def mean_over_seeds(
    run: RunData, backbone: str, name: str, lambda_: float | None, guidance: str, space: str, metric: str
) -> Estimate:
    """A family's number at one lambda: mean over seeds with both intervals."""
    values, draws, _ = run.sample(run.seeds(backbone, name, lambda_), guidance, space, metric)
    return estimate(values, draws)


def means(samples: Sequence[tuple[Floats, Floats]]) -> list[Estimate]:
    """The mean of each (values (S,), replicates (S, R)), all of one shape at once."""
    alike: dict[tuple[int, int], list[int]] = {}
    for i, (_, draws) in enumerate(samples):
        alike.setdefault(draws.shape, []).append(i)
    found: dict[int, Estimate] = {}
    for places in alike.values():
        values, draws = (np.stack([samples[i][part] for i in places]) for part in (0, 1))
        found |= zip(places, estimates(values, draws), strict=True)
    return [found[i] for i in range(len(samples))]


def bounds(e: Estimate) -> tuple[float, float]:
    """The interval over seeds where it is known, that over samples otherwise; NaN where neither is."""
    return (e.seed_low, e.seed_high) if math.isfinite(e.seed_low) else (e.low, e.high)


def best_of(scores: list[Estimate], better: str) -> int | None:
    """The row whose interval over seeds is clear of every other's interval; None where there is none."""
    known = [(i, e) for i, e in enumerate(scores) if math.isfinite(e.value)]
    if not better or len(known) < 2:
        return None
    sign = 1.0 if better == "lower" else -1.0
    first, e = min(known, key=lambda x: sign * x[1].value)
    if not math.isfinite(e.seed_low):
        return None
    worst = max(sign * e.seed_low, sign * e.seed_high)
    others = [min(sign * b for b in bounds(o)) for i, o in known if i != first]
    return first if all(math.isfinite(o) and worst < o for o in others) else None


def paired(
    run: RunData, cells: tuple[CellKey, ...], guidance: str, space: str, metric: str, control: str = BASE
) -> tuple[Floats, Floats, Floats, Floats, list[CellKey]]:
    """Values (S,) and replicates (S, R) of cells and of their bases, for the seeds where both are finite.

    Of another `control` than the base the cells of the very same seeds: what its own seed does is part of the pair.
    """
    if control == BASE:
        both = [(c, b) for c in cells if (b := run.base_of(c)) is not None]
    else:
        both = [(c, b) for c in cells for b in run.seeds(c.backbone, control, None) if b.seed == c.seed]
    both = [(c, b) for c, b in both if all(_finite(run, k, guidance, space, metric) for k in (c, b))]
    values, draws, _ = run.sample([c for c, _ in both], guidance, space, metric)
    base, base_draws, _ = run.sample([b for _, b in both], guidance, space, metric)
    count = min(draws.shape[1], base_draws.shape[1])
    centred = [recentre(v, d[:, :count]) if count else d[:, :0] for v, d in ((values, draws), (base, base_draws))]
    return values, centred[0], base, centred[1], [b for _, b in both]


def _finite(run: RunData, cell: CellKey, guidance: str, space: str, metric: str) -> bool:
    row = run.row(cell, guidance, space, metric)
    return row is not None and bool(np.isfinite(row.value))


def fd_ratio(
    run: RunData, backbone: str, name: str, lambda_: float | None, guidance: str, space: str, control: str = BASE
) -> Effect:
    """How many times smaller FD is than the base's, or than a control's: geometric mean over seeds of control / run.

    NaN when a distance is not positive, which a ratio cannot express.
    """
    cells = run.seeds(backbone, name, lambda_)
    values, draws, base, base_draws, _ = paired(run, cells, guidance, space, "fd", control)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log(base) - np.log(values)
        ratio_draws = np.log(base_draws) - np.log(draws)
    found = estimate(ratio, ratio_draws).map(np.exp)
    held_out = run.held_out_space(space)
    return Effect(backbone, name, lambda_, guidance, space, "fd", "ratio", held_out, found)


def sigma(run: RunData, cell: CellKey, guidance: str, metric: str) -> float:
    """Standard deviation of a reward over a cell's samples (n - 1), as the run kept it.

    A run of before it was kept: read off the bootstrap of the mean (sd = sigma/sqrt(n); 5 % off with 200 replicates).
    NaN when there are neither replicates nor an interval.
    """
    row = run.row(cell, guidance, "", metric)
    if row is None:
        return float("nan")
    kept = run.record.details.get(f"{cell.id}|{guidance}||{metric}", {})
    if "standard_deviation" in kept:
        return float(kept["standard_deviation"])
    draws = run.draws(cell, guidance, "", metric)
    if len(draws) > 1:
        return float(draws.std(ddof=1) * np.sqrt(row.n))
    if row.low is None or row.high is None:
        return float("nan")
    return (row.high - row.low) / (2 * NORMAL_95) * float(np.sqrt(row.n))


def preference_gain(
    run: RunData, backbone: str, name: str, lambda_: float | None, guidance: str, reward: str
) -> Effect:
    """(r_run - r_base) / sigma_base, sigma over the base's samples (paper, section on preference gains)."""
    cells = run.seeds(backbone, name, lambda_)
    values, draws, base, base_draws, bases = paired(run, cells, guidance, "", reward)
    spread = np.array([sigma(run, b, guidance, reward) for b in bases])
    with np.errstate(divide="ignore", invalid="ignore"):
        gains, gain_draws = (values - base) / spread, (draws - base_draws) / spread[:, None]
    held_out = reward not in {r for c in cells for r in run.optimised(c)}
    return Effect(backbone, name, lambda_, guidance, "", reward, "gain", held_out, estimate(gains, gain_draws))


def change(run: RunData, backbone: str, name: str, lambda_: float | None, guidance: str, metric: str) -> Effect:
    """run - base of an image statistic or any other plain number."""
    values, draws, base, base_draws, _ = paired(run, run.seeds(backbone, name, lambda_), guidance, "", metric)
    found = estimate(values - base, draws - base_draws)
    return Effect(backbone, name, lambda_, guidance, "", metric, "change", True, found)


@dataclass(frozen=True)
class Hacking:
    """One family at one lambda, looked at for over-optimisation.

    Attributes:
        optimised: gain of each reward it was trained on.
        held_out: gain of each preference reward it was not trained on.
        distances: FD ratio against base in each space (above 1 is better).
        drifts: change of each image statistic.
        signs: what moved the wrong way beyond its sampling interval while an optimised reward rose (or was not
            measured, as a discriminator's logit often is not); empty is clean.
        trained: every reward it was trained on, measured or not.
    """

    backbone: str
    run: str
    lambda_: float | None
    guidance: str
    optimised: tuple[Effect, ...]
    held_out: tuple[Effect, ...]
    distances: tuple[Effect, ...]
    drifts: tuple[Effect, ...]
    signs: tuple[str, ...]
    trained: tuple[str, ...]


def hacking(run: RunData, backbone: str, name: str, lambda_: float | None, guidance: str) -> Hacking:
    """Set what a family was paid for beside what it was not paid for."""
    at = (backbone, name, lambda_, guidance)
    trained = tuple(dict.fromkeys(r for c in run.seeds(backbone, name, lambda_) for r in run.optimised(c)))
    gains = [preference_gain(run, *at, r) for r in run.rewards]
    optimised = tuple(g for g in gains if g.metric in trained)
    # A discriminator's logit is judged by FD, not by taste: it is no held-out reward of a preference run.
    held_out = tuple(g for g in gains if g.metric not in trained and run.is_preference(g.metric))
    distances = tuple(fd_ratio(run, *at, s) for s in run.spaces)
    drifts = tuple(change(run, *at, m) for m in run.drifts)
    signs = []
    if not optimised or any(g.estimate.low > 0 for g in optimised):
        signs += [f"{g.metric} (held out) falls" for g in held_out if g.estimate.high < 0]
        signs += [f"FD in {d.space} rises" for d in distances if d.estimate.high < 1]
    return Hacking(*at, optimised, held_out, distances, drifts, tuple(signs), trained)


def hacking_table(run: RunData, guidance: str) -> list[Hacking]:
    """Every trained family at every lambda under one guidance."""
    return [
        hacking(run, backbone, name, lambda_, guidance)
        for backbone in run.backbones
        for name in run.runs
        if name != BASE
        for lambda_ in run.lambdas(backbone, name)
        if any(run.optimised(c) for c in run.seeds(backbone, name, lambda_))
    ]


def stop_marker(rows: list[Hacking]) -> float | None:
    """The largest lambda of a family before the first sign; None when even the smallest shows one (or none exists)."""
    last = None
    for row in sorted(rows, key=lambda h: h.lambda_ or 0.0):
        if row.signs:
            break
        last = row.lambda_
    return last
