"""Run against run (or against a pinned baseline): paired by cell and seed, effect size and significance both.

A number got worse when it moved the wrong way by at least `LEAST` AND significantly: over seeds, with false discoveries
held at 5 % (`significance.py`). With one seed everywhere the spread between seeds is unknown; then only a change of
`LEAST_ONE_SEED` counts, about four times what another seed alone does (digits: 9 % of FD). A number that was finite and
is now NaN, infinite or gone is lost, and the row says why. Numbers whose signatures differ were not measured alike and
take no part in the verdict.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np

from drlbench.errors import UserError, did_you_mean
from drlbench.frontier.pareto import Floats
from drlbench.report.change import Change, Pair
from drlbench.report.differences import Difference, differences
from drlbench.report.record import SCHEMA, Reward, RunRecord
from drlbench.report.results import DATA, Row, read_results
from drlbench.report.rundata import NORM_RATIO, CellKey, RunData, read_run
from drlbench.report.significance import pooled, significant

# The least effect that counts: a share of the old value, or standard deviations of the old samples for a reward.
LEAST = {"share": 0.02, "sigma": 0.1}
LEAST_ONE_SEED = {"share": 0.5, "sigma": 1.0}
FAILING = ("lost", "worse")
# Order of importance.
VERDICTS = (*FAILING, "better", "changed", "not comparable", "gone", "new", "same")


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
    def compared(self) -> bool:
        """Whether any number could be compared; without one there is no verdict."""
        return any(c.verdict not in ("not comparable", "gone", "new") for c in self.changes)

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
    run_a: Path, run_b: Path | None = None, baseline: Path | None = None, metrics: str = "*", cells: Sequence[str] = ()
) -> Comparison:
    """Compare run A (old) with run B (new), or a baseline (old) with run A (new).

    Args:
        run_a: a run's folder.
        run_b: another, or None when a baseline is given.
        baseline: a results.csv of a released run (a folder holding one is as good).
        metrics: comma-separated names of metrics to compare; `*` for all.
        cells: patterns of the cell ids to compare; none: all.

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


def _wanted(old: RunData, new: RunData, metrics: str, cells: Sequence[str]) -> Callable[[Row], bool]:
    known = dict.fromkeys(r.metric for r in (*old.rows, *new.rows))
    asked = [m.strip() for m in metrics.split(",") if m.strip()]
    for name in (n for n in asked if n != "*" and n not in known):
        raise UserError(f"--metrics: neither run has {name!r}{did_you_mean(name, known)}; they have {', '.join(known)}")

    def take(row: Row) -> bool:
        key = CellKey(row.backbone, row.run, row.lambda_, row.seed)
        chosen = not cells or any(fnmatchcase(key.id, pattern) for pattern in cells)
        return row.run != DATA and ("*" in asked or row.metric in asked) and chosen

    return take


def _held(run: RunData) -> str:
    seeds = ", ".join(dict.fromkeys(c.seed for c in run.cells if c.run != DATA))
    return f"{', '.join(f'{b}/{n}' for b in run.backbones for n in run.runs)} (seeds {seeds})" if seeds else "no cell"


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
    pairs = [Pair(old, new, row) for row in keys.values()]
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


def _verdict(c: Change, passed: bool, over_seeds: bool) -> str:
    least = LEAST if over_seeds else LEAST_ONE_SEED
    if not passed or not abs(c.effect) >= least[c.unit]:
        return "same"
    if c.metric in ("kl_nats", NORM_RATIO):
        return "changed"
    return "better" if c.effect > 0 else "worse"
