"""One number of two runs, paired by seed: how far it moved, and why it cannot be judged where it cannot.

Shapes: S seeds, R replicates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from drlbench.frontier.pareto import Floats
from drlbench.frontier.uncertainty import NORMAL_95, RNG_SEED, Estimate, estimate
from drlbench.metrics.signature import why_not_comparable
from drlbench.report.effects import sigma
from drlbench.report.results import Row
from drlbench.report.rundata import CellKey, RunData
from drlbench.report.significance import Spread, p_over_samples, p_over_seeds
from drlbench.report.words import digits


@dataclass(frozen=True)
class Change:
    """One number of one family: new - old, mean over the seeds both have.

    Attributes:
        effect: the change in the direction that is better, in `unit`.
        unit: "share" of the old value (of the real images' value for an image statistic), or "sigma", standard
            deviations of the old samples, for a reward.
        p: two-sided p-value of the change, over seeds where their spread is known; NaN where nothing is.
        paired: both sides kept replicates.
        verdict: lost (finite before, and not any more), worse, better, changed (a number without a better
            direction), same (no significant change, or one below the threshold), not comparable (signatures differ),
            gone or new (a cell or number that only one side has).
        why: the reason of every verdict but worse, better, changed and same.
    """

    backbone: str
    run: str
    lambda_: float | None
    guidance: str
    space: str
    metric: str
    old: float
    new: float
    change: Estimate
    effect: float
    unit: str
    p: float
    paired: bool
    verdict: str
    why: str = ""

    @property
    def number(self) -> str:
        """`fd classifier`."""
        return f"{self.metric} {self.space}".strip()


class Pair:
    """One number of one family on both sides: the seeds both have, and why it cannot be judged where it cannot."""

    def __init__(self, old: RunData, new: RunData, row: Row) -> None:
        self.old, self.new, self.row = old, new, row
        self.at = (row.guidance, row.space, row.metric)
        theirs, ours = (
            {
                c.seed: r
                for c in run.seeds(row.backbone, row.run, row.lambda_)
                if (r := run.row(c, *self.at)) is not None
            }
            for run in (old, new)
        )
        shared = [s for s in theirs if s in ours]
        self.seeds = [s for s in shared if all(math.isfinite(side[s].value) for side in (theirs, ours))]
        self.cells = [CellKey(row.backbone, row.run, row.lambda_, s) for s in self.seeds]
        self.verdict, self.why = self._unjudged(theirs, ours)
        self.a, self.a_draws, _ = old.sample(self.cells, *self.at)
        self.b, self.b_draws, _ = new.sample(self.cells, *self.at)
        self.before = _mean([r.value for r in theirs.values() if math.isfinite(r.value)])
        self.after = _mean([r.value for r in ours.values()])
        known = (run.best(row.space, row.metric) for run in (new, old))
        self.best = next((v for v in known if math.isfinite(v)), float("nan"))
        self.unit = "sigma" if row.metric in old.rewards else "share"
        self.scale = self._scale() if self.cells else float("nan")

    def _unjudged(self, theirs: dict[str, Row], ours: dict[str, Row]) -> tuple[str, str]:
        """(verdict, why) of a number that was lost, is not comparable or has one side only; ("", "") otherwise."""
        for seed, row in theirs.items():
            cell = CellKey(row.backbone, row.run, row.lambda_, seed)
            if not math.isfinite(row.value):
                continue
            if seed in ours and not math.isfinite(ours[seed].value):
                return "lost", f"seed {seed} was {digits(row.value)}, is {ours[seed].value:g}"
            if seed not in ours and any(c.id == cell.id for c in self.new.record.cells):
                status = self.new.cell_record(cell).status
                became = "has no such number any more" if status == "ok" else f"its cell is {status}"
                return "lost", f"seed {seed} was {digits(row.value)}, {became}"
        for seed in self.seeds:
            if said := why_not_comparable(theirs[seed].signature, ours[seed].signature):
                return "not comparable", "; ".join(said)
        if not self.seeds:
            known = any(math.isfinite(r.value) for r in theirs.values())
            return ("gone", "not part of the new run") if known else ("new", "the old run has no such number")
        return "", ""

    def _scale(self) -> float:
        if self.unit == "sigma":
            found = sigma(self.old, self.cells[0], self.row.guidance, self.row.metric)
        else:
            found = abs(self.best) if self.row.better == "closer" else abs(float(self.a.mean()))
        return found if found > 0 else float("nan")

    @property
    def scaled(self) -> Floats:
        """(S,) new - old in units of the scale."""
        return (self.b - self.a) / self.scale

    def change(self, spread: Spread | None) -> Change:
        """The record; its verdict is left empty where the gates still have to speak."""
        count = min(self.a_draws.shape[1], self.b_draws.shape[1]) if self.cells else 0
        draws = self.b_draws[:, :count] - self.a_draws[:, :count] if count else self._unpaired()
        found = estimate(self.b - self.a, draws)
        p = float("nan")
        if not self.why and self.cells:
            if spread is None or not math.isfinite(self.scale):
                p = p_over_samples(self.b - self.a, draws)
            else:
                p = p_over_seeds(self.scaled, draws / self.scale, spread)
        row = self.row
        key = (row.backbone, row.run, row.lambda_, *self.at, self.before, self.after)
        return Change(*key, found, self._effect(), self.unit, p, count > 0, self.verdict, self.why)

    def _effect(self) -> float:
        """The change in the better direction, in its unit; NaN where there is no scale to measure it by."""
        if not self.cells or self.why:
            return float("nan")
        a, b = self.a, self.b
        if self.row.better == "closer":
            a, b = np.abs(a - self.best), np.abs(b - self.best)
        return float((b - a).mean()) * (1.0 if self.row.better == "higher" else -1.0) / self.scale

    def _unpaired(self) -> Floats:
        """Normal draws (S, 400) of the change from the intervals, as if independent; (S, 0) without intervals."""
        widths = []
        for cell in self.cells:
            rows = [run.row(cell, *self.at) for run in (self.old, self.new)]
            spans = [r.high - r.low for r in rows if r is not None and r.low is not None and r.high is not None]
            if len(spans) < 2:
                return np.empty((len(self.cells), 0))
            widths.append(math.hypot(*spans) / (2 * NORMAL_95))
        noise = np.random.default_rng(RNG_SEED).standard_normal((len(self.cells), 400))
        draws: Floats = (self.b - self.a)[:, None] + np.array(widths)[:, None] * noise
        return draws


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else float("nan")
