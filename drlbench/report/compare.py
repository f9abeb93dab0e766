"""Run against run (or against a pinned baseline): paired by cell and seed, effect size and significance both.

A number got worse when it moved the wrong way by at least `LEAST` AND significantly: over seeds, with false discoveries
held at 5 % (`significance.py`). With one seed everywhere the spread between seeds is unknown; then only a change of
`LEAST_ONE_SEED` counts, about four times what another seed alone does (digits: 9 % of FD). A number that was finite and
is now NaN, infinite or gone is lost, and the row says why. Numbers whose signatures differ were not measured alike and
take no part in the verdict.

Shapes: S seeds, R replicates.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np

from drlbench.errors import UserError, did_you_mean
from drlbench.frontier.pareto import Floats
from drlbench.frontier.uncertainty import NORMAL_95, RNG_SEED, Estimate, estimate
from drlbench.metrics.signature import why_not_comparable
from drlbench.report.differences import Difference, differences
from drlbench.report.effects import sigma
from drlbench.report.record import SCHEMA, Reward, RunRecord
from drlbench.report.results import DATA, Row, read_results
from drlbench.report.rundata import CellKey, RunData, read_run
from drlbench.report.significance import Spread, p_over_samples, p_over_seeds, pooled, significant
from drlbench.report.words import digits

# The least effect that counts: a share of the old value, or standard deviations of the old samples for a reward.
LEAST = {"share": 0.02, "sigma": 0.1}
LEAST_ONE_SEED = {"share": 0.5, "sigma": 1.0}
FAILING = ("lost", "worse")
# Order of importance.
VERDICTS = (*FAILING, "better", "changed", "not comparable", "gone", "new", "same")


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


@dataclass(frozen=True)
class Comparison:
    """Every number two runs share; `old_run` and `new_run` as they were read."""

    old: str
    new: str
    changes: tuple[Change, ...]
    differences: tuple[Difference, ...]
    notes: tuple[str, ...]
    old_run: RunData
    new_run: RunData

    @property
    def regressed(self) -> bool:
        """Whether any number got worse or was lost; `compare --fail-on regress` ends with exit code 3 on it."""
        return any(c.verdict in FAILING for c in self.changes)

    @property
    def counts(self) -> dict[str, int]:
        """How many numbers got each verdict, most important first."""
        found = Counter(c.verdict for c in self.changes)
        return {v: found[v] for v in VERDICTS if found[v]}

    def ranked(self, every: bool = False) -> list[Change]:
        """What moved (every number with `every`): most important verdict first, then the worst effect."""
        kept = [c for c in self.changes if every or c.verdict not in ("same", "not comparable", "new")]
        return sorted(kept, key=lambda c: (VERDICTS.index(c.verdict), c.effect if math.isfinite(c.effect) else 0.0))


def compare(
    run_a: Path, run_b: Path | None = None, baseline: Path | None = None, metrics: str = "*", cells: str = "*"
) -> Comparison:
    """Compare run A (old) with run B (new), or a baseline (old) with run A (new).

    Args:
        run_a: a run's folder.
        run_b: another, or None when a baseline is given.
        baseline: a results.csv of a released run (a folder holding one is as good).
        metrics: comma-separated names of metrics to compare; `*` for all.
        cells: pattern of cell ids to compare.

    Raises:
        UserError: neither or both of `run_b` and `baseline` are given, or the two have no number in common.
        MissingPrerequisite, IntegrityError: see `read_run`.
    """
    if (run_b is None) == (baseline is None):
        raise UserError("compare takes two runs, or one run and --baseline FILE")
    if baseline is not None:
        old, new, names = _baseline(baseline), read_run(run_a), (baseline.name, run_a.resolve().name)
    else:
        assert run_b is not None
        old, new, names = read_run(run_a), read_run(run_b), (run_a.resolve().name, run_b.resolve().name)
    changes = tuple(_changes(old, new, _wanted(old, new, metrics, cells)))
    if not any(c.verdict not in ("gone", "new") for c in changes):
        raise UserError(
            f"{names[0]} and {names[1]} have no number in common: they hold {_held(old)} and {_held(new)}; "
            "cells are matched by backbone, run, lambda, seed and guidance"
        )
    told = tuple(differences(old.record, new.record))
    return Comparison(*names, changes, told, tuple(_notes(old, new, changes)), old, new)


def _wanted(old: RunData, new: RunData, metrics: str, cells: str) -> Callable[[Row], bool]:
    known = dict.fromkeys(r.metric for r in (*old.rows, *new.rows))
    asked = [m.strip() for m in metrics.split(",") if m.strip()]
    for name in (n for n in asked if n != "*" and n not in known):
        raise UserError(f"--metrics: neither run has {name!r}{did_you_mean(name, known)}; they have {', '.join(known)}")

    def take(row: Row) -> bool:
        key = CellKey(row.backbone, row.run, row.lambda_, row.seed)
        return row.run != DATA and ("*" in asked or row.metric in asked) and fnmatchcase(key.id, cells)

    return take


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


def _notes(old: RunData, new: RunData, changes: tuple[Change, ...]) -> list[str]:
    notes = []
    for name, run in (("The old", old), ("The new", new)):
        if run.record.status not in ("complete", "unknown"):
            notes.append(f"{name} run is {run.record.status}.")
    if all(c.change.n_seeds <= 1 for c in changes):
        least = f"{100 * LEAST_ONE_SEED['share']:.0f} % (rewards {LEAST_ONE_SEED['sigma']:g} σ)"
        notes.append(f"One seed: nothing is known of training's own noise, so only changes of {least} count.")
    return notes


def _changes(old: RunData, new: RunData, wanted: Callable[[Row], bool]) -> list[Change]:
    keys: dict[tuple[str, str, float | None, str, str, str], Row] = {}
    for row in (r for r in (*old.rows, *new.rows) if wanted(r)):
        keys[row.backbone, row.run, row.lambda_, row.guidance, row.space, row.metric] = row
    pairs = [_Pair(old, new, row) for row in keys.values()]
    by_number: dict[tuple[str, str], list[Floats]] = {}
    for pair in (p for p in pairs if not p.why):
        by_number.setdefault((pair.row.space, pair.row.metric), []).append(pair.scaled)
    spreads = {k: pooled(v) for k, v in by_number.items()}
    found = [p.change(spreads.get((p.row.space, p.row.metric))) for p in pairs]
    passed = significant(np.array([c.p for c in found]))
    return [
        replace(c, verdict=c.verdict or _verdict(c, bool(s), spreads.get((c.space, c.metric)) is not None))
        for c, s in zip(found, passed, strict=True)
    ]


class _Pair:
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
        data = new.data_row(row.space, row.metric) or old.data_row(row.space, row.metric)
        self.data = data.value if data else float("nan")
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
            found = abs(self.data) if self.row.better == "closer" else abs(float(self.a.mean()))
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
            a, b = np.abs(a - self.data), np.abs(b - self.data)
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


def _verdict(c: Change, passed: bool, over_seeds: bool) -> str:
    least = LEAST if over_seeds else LEAST_ONE_SEED
    if not passed or not abs(c.effect) >= least[c.unit]:
        return "same"
    if c.metric == "kl_nats":
        return "changed"
    return "better" if c.effect > 0 else "worse"
