"""Run against run (or against a pinned baseline): paired by cell and seed, effect size and significance both.

A number regressed when it moved the wrong way by at least `LEAST` AND significantly: its p-value passes Benjamini and
Hochberg's step at 5 %, so that hundreds of numbers do not raise a false alarm by their count. Significance is about
these checkpoints (sampling noise); the interval over RL seeds stands beside it. Runs with replicates are paired by
resample; a baseline without them is compared through the ends of its intervals, as if independent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import special

from drlbench.errors import UserError
from drlbench.frontier.pareto import Floats
from drlbench.frontier.uncertainty import Estimate, estimate
from drlbench.metrics.signature import why_not_comparable
from drlbench.report.effects import NORMAL_95, generator, sigma
from drlbench.report.record import SCHEMA, Reward, RunRecord
from drlbench.report.results import DATA, Row, csv_text, read_results
from drlbench.report.rundata import CellKey, RunData, read_run
from drlbench.report.tables import Table
from drlbench.report.words import digits, interval, lambda_text

# The least effect that counts: a share of the old value, or standard deviations of the old samples for a reward.
LEAST = {"share": 0.02, "sigma": 0.1}
FALSE_ALARMS = 0.05
COLUMNS = (
    *("backbone", "run", "lambda", "guidance", "space", "metric", "old", "new", "change", "low", "high"),
    *("seed_low", "seed_high", "effect", "unit", "p", "n_seeds", "paired", "verdict"),
)


@dataclass(frozen=True)
class Change:
    """One number of one family: new - old, mean over the seeds both have.

    Attributes:
        effect: the change in the direction that is better, in `unit`.
        unit: "share" of the old value (of the real images' value for an image statistic), or "sigma", standard
            deviations of the old samples, for a reward.
        p: two-sided p-value of the change (normal), NaN when no interval is known.
        paired: both sides kept replicates.
        verdict: better, worse, same (no significant change, or one below the threshold), changed (a number without a
            better direction), or missing (one side has no such number).
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


@dataclass(frozen=True)
class Comparison:
    """Every number two runs share."""

    old: str
    new: str
    changes: tuple[Change, ...]
    notes: tuple[str, ...]

    @property
    def regressed(self) -> bool:
        """Whether any number got worse; `drlbench compare --fail-on regress` ends with exit code 3 on it."""
        return any(c.verdict == "worse" for c in self.changes)

    def to_table(self, every: bool = False) -> Table:
        """A table of what moved (of every number with `every`), worst first."""
        order = {"worse": 0, "missing": 1, "better": 2, "changed": 3, "same": 4}
        kept = [c for c in self.changes if every or c.verdict != "same"]
        rows = []
        for c in sorted(kept, key=lambda c: (order[c.verdict], c.effect if math.isfinite(c.effect) else 0.0)):
            where = f"{c.metric}{f' {c.space}' if c.space else ''}"
            cell = " ".join(x for x in (c.backbone, c.run, lambda_text(c.lambda_)) if x)
            effect = f"{100 * c.effect:+.1f} %" if c.unit == "share" else f"{c.effect:+.2f} σ"
            effect = effect.replace("-", "−") if math.isfinite(c.effect) else ""
            numbers = (digits(c.old), digits(c.new), effect, interval(c.change.low, c.change.high))
            rows.append((c.verdict, cell, c.guidance, where, *numbers, str(c.change.n_seeds)))
        counts = {v: sum(c.verdict == v for c in self.changes) for v in order}
        told = ", ".join(f"{n} {v}" for v, n in counts.items() if n)
        header = ("verdict", "cell", "guidance", "number", "old", "new", "effect", "change, 95 %", "seeds")
        unit = "Effect: share of the old value (rewards: standard deviations), plus is better."
        note = " ".join([f"{told or 'no number in common'}.", unit, *self.notes])
        return Table(f"{self.old} to {self.new}", header, tuple(rows), note)

    def to_text(self) -> str:
        """The table in plain columns for a terminal, with the verdict in the last line."""
        table = self.to_table()
        widths = [max(len(str(r[i])) for r in (table.header, *table.rows)) for i in range(len(table.header))]
        rows = [[str(v).ljust(w) for v, w in zip(r, widths, strict=True)] for r in (table.header, *table.rows)]
        lines = ["  ".join(r).rstrip() for r in rows]
        return "\n".join([table.title, *lines, table.note, "REGRESSED" if self.regressed else "no regression"]) + "\n"

    def to_csv(self) -> str:
        """Every number, exact."""
        rows = [
            (
                *(c.backbone, c.run, c.lambda_, c.guidance, c.space, c.metric, c.old, c.new, c.change.value),
                *(c.change.low, c.change.high, c.change.seed_low, c.change.seed_high, c.effect, c.unit, c.p),
                *(c.change.n_seeds, c.paired, c.verdict),
            )
            for c in self.changes
        ]
        return csv_text(COLUMNS, rows)

    def to_html(self) -> str:
        """A self-contained page without scripts."""
        from drlbench.report.html import render_comparison

        return render_comparison(self)


def compare(run_a: Path, run_b: Path | None = None, baseline: Path | None = None) -> Comparison:
    """Compare run A (old) with run B (new), or a baseline (old) with run A (new).

    Args:
        run_a: a run's folder.
        run_b: another, or None when a baseline is given.
        baseline: a results.csv of a released run (a folder holding one is as good).

    Raises:
        UserError: neither or both of `run_b` and `baseline` are given, or the two have no number in common.
        MissingPrerequisite, IntegrityError: see `read_run`.
    """
    if (run_b is None) == (baseline is None):
        raise UserError("compare takes two runs, or one run and --baseline FILE")
    if baseline is not None:
        old, new, names = _baseline(baseline), read_run(run_a), (baseline.name, run_a.name)
    else:
        assert run_b is not None
        old, new, names = read_run(run_a), read_run(run_b), (run_a.name, run_b.name)
    changes = tuple(_changes(old, new))
    if not any(c.verdict != "missing" for c in changes):
        raise UserError(
            f"{names[0]} and {names[1]} have no number in common: they hold {_held(old)} and {_held(new)}; "
            "cells are matched by backbone, run, lambda, seed and guidance"
        )
    return Comparison(*names, changes, tuple(_notes(old, new)))


def _held(run: RunData) -> str:
    return ", ".join(f"{b}/{n}" for b in run.backbones for n in run.runs) or "no cell"


def _baseline(path: Path) -> RunData:
    if path.is_dir():
        return read_run(path)
    rows = tuple(read_results(path))
    names = dict.fromkeys(r.metric for r in rows if _is_reward(r))
    record = RunRecord(schema=SCHEMA, rewards=tuple(Reward(name=name) for name in names))
    return RunData(path.parent, rows, record, {}, {})


def _is_reward(row: Row) -> bool:
    """A number without a feature space that is best when high."""
    return row.space == "" and row.better == "higher"


def _notes(old: RunData, new: RunData) -> list[str]:
    notes = []
    for name, run in (("The old", old), ("The new", new)):
        status = run.record.status
        if status not in ("complete", "unknown"):
            notes.append(f"{name} run is {status}.")
    old_data, new_data = ({(r.space, r.metric): r.signature for r in run.rows if r.run == DATA} for run in (old, new))
    moved: dict[str, list[str]] = {}
    for (space, metric), signature in sorted(new_data.items()):
        if why := why_not_comparable(old_data.get((space, metric), signature), signature):
            moved.setdefault("; ".join(why), []).append(f"{metric} {space}".strip())
    notes += [f"Not comparable ({why}): {', '.join(names)}." for why, names in moved.items()]
    return notes


def _changes(old: RunData, new: RunData) -> list[Change]:
    keys: dict[tuple[str, str, float | None, str, str, str], Row] = {}
    for row in (*old.rows, *new.rows):
        if row.run != DATA:
            keys[row.backbone, row.run, row.lambda_, row.guidance, row.space, row.metric] = row
    changes = [_change(old, new, row) for row in keys.values()]
    passed = significant(np.array([c.p for c in changes]))
    return [replace(c, verdict=_verdict(c, bool(s))) for c, s in zip(changes, passed, strict=True)]


def significant(p: Floats) -> NDArray[np.bool_]:
    """Benjamini and Hochberg's step-up at `FALSE_ALARMS` over p-values (K,); NaN never passes."""
    passed = np.zeros(len(p), dtype=bool)
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p[known], kind="stable")]
    below = np.flatnonzero(p[order] <= FALSE_ALARMS * (np.arange(len(order)) + 1) / max(1, len(order)))
    if len(below):
        passed[order[: below[-1] + 1]] = True
    return passed


def _change(old: RunData, new: RunData, row: Row) -> Change:
    at = (row.guidance, row.space, row.metric)
    theirs, ours = (
        {c.seed: c for c in run.seeds(row.backbone, row.run, row.lambda_) if _has(run, c, at)} for run in (old, new)
    )
    pairs = [(theirs[s], ours[s]) for s in theirs if s in ours]
    a, a_draws, _ = old.sample([p[0] for p in pairs], *at)
    b, b_draws, _ = new.sample([p[1] for p in pairs], *at)
    count = min(a_draws.shape[1], b_draws.shape[1]) if pairs else 0
    draws = b_draws[:, :count] - a_draws[:, :count] if count else _unpaired(old, new, pairs, at, b - a)
    found = estimate(b - a, draws, generator())
    data = new.data_row(row.space, row.metric) or old.data_row(row.space, row.metric)
    unit = "sigma" if row.metric in old.rewards else "share"
    effect = _effect(old, pairs, row, a, b, data.value if data else float("nan"))
    key = (row.backbone, row.run, row.lambda_, *at)
    return Change(*key, _mean(a), _mean(b), found, effect, unit, _p_value(b - a, draws), count > 0, "missing")


def _p_value(change: Floats, draws: Floats) -> float:
    """Two-sided, from the sd of the replicates of the mean change; 1 for no change at all."""
    if not len(change) or not draws.shape[1]:
        return float("nan")
    spread = float(draws.mean(axis=0).std(ddof=1))
    if spread == 0:
        return float(change.mean() == 0)
    return float(special.erfc(abs(change.mean()) / spread / math.sqrt(2)))


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _has(run: RunData, cell: CellKey, at: tuple[str, str, str]) -> bool:
    row = run.row(cell, *at)
    return row is not None and math.isfinite(row.value)


def _unpaired(
    old: RunData, new: RunData, pairs: list[tuple[CellKey, CellKey]], at: tuple[str, str, str], change: Floats
) -> Floats:
    """Normal draws (S, 400) of the change from both sides' intervals, as if independent; (S, 0) without intervals."""
    widths = []
    for pair in pairs:
        rows = [run.row(cell, *at) for run, cell in zip((old, new), pair, strict=True)]
        spans = [r.high - r.low for r in rows if r is not None and r.low is not None and r.high is not None]
        if len(spans) < 2:
            return np.empty((len(pairs), 0))
        widths.append(math.hypot(*spans) / (2 * NORMAL_95))
    draws: Floats = change[:, None] + np.array(widths)[:, None] * generator().standard_normal((len(pairs), 400))
    return draws


def _effect(run: RunData, pairs: list[tuple[CellKey, CellKey]], row: Row, a: Floats, b: Floats, data: float) -> float:
    """The change in the better direction, in its unit (see `Change`); NaN where there is no scale to measure it by."""
    if not pairs:
        return float("nan")
    if row.better == "closer":
        a, b = np.abs(a - data), np.abs(b - data)
    gain = float((b - a).mean()) * (1.0 if row.better == "higher" else -1.0)
    if row.metric in run.rewards:
        scale = sigma(run, pairs[0][0], row.guidance, row.metric)
    else:
        scale = abs(data) if row.better == "closer" else abs(float(a.mean()))
    return gain / scale if scale > 0 else float("nan")


def _verdict(c: Change, passed: bool) -> str:
    if not c.change.n_seeds:
        return "missing"
    if not passed or not abs(c.effect) >= LEAST[c.unit]:
        return "same"
    if c.metric == "kl_nats":
        return "changed"
    return "better" if c.effect > 0 else "worse"
