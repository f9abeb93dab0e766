"""A comparison as a summary of ten lines, a table, a CSV file."""

from __future__ import annotations

import math
from collections import Counter

from drlbench.report.change import Change
from drlbench.report.compare import FAILING, Comparison
from drlbench.report.differences import in_a_line
from drlbench.report.results import csv_text
from drlbench.report.tables import Table
from drlbench.report.words import digits, interval, lambda_text

NAMED = 4  # numbers that the summary spells out
HEADER = ("verdict", "cell", "guidance", "number", "old", "new", "effect", "change, 95 %", "seeds", "why")
COLUMNS = (
    *("backbone", "run", "lambda", "guidance", "space", "metric", "old", "new", "change", "low", "high"),
    *("seed_low", "seed_high", "effect", "unit", "p", "n_seeds", "paired", "verdict", "why"),
)


def verdict(found: Comparison) -> str:
    """`REGRESSED`, `no regression`, or why there is none of the two."""
    if not found.regressed and not found.compared:
        ((why, _),) = Counter(c.why for c in found.changes if c.verdict == "not comparable").most_common(1)
        return f"no verdict: no number of the two can be compared ({why})"
    return "REGRESSED" if found.regressed else "no regression"


def cell_name(c: Change) -> str:
    """`sit drl lambda 1`."""
    return " ".join(x for x in (c.backbone, c.run, lambda_text(c.lambda_)) if x)


def effect(c: Change) -> str:
    """`+12.0 %` or `−0.30 σ`, plus is better."""
    if not math.isfinite(c.effect):
        return ""
    text = f"{100 * c.effect:+.1f} %" if c.unit == "share" else f"{c.effect:+.2f} σ"
    return text.replace("-", "−")


def value(number: float) -> str:
    """A number as a reader sees it; `inf` and `nan` by name, because they are findings here."""
    return digits(number) if math.isfinite(number) else f"{number:g}"


def summary(found: Comparison) -> str:
    """At most ten lines: what differs, what was compared, the verdict in numbers, the worst, and the word."""
    counts = ", ".join(f"{n} {v}" for v, n in found.counts.items())
    lines = [
        f"{found.old} → {found.new}",
        f"differs: {in_a_line(list(found.differences))}",
        f"numbers: {counts}",
    ]
    moved = [c for c in found.ranked() if c.verdict in (*FAILING, "better", "changed")]
    for c in moved[:NAMED]:
        told = c.why or f"{value(c.old)} → {value(c.new)} ({effect(c)}, {c.change.n_seeds} seeds)".replace(
            "1 seeds", "1 seed"
        )
        guided = f" under {c.guidance}" if c.guidance not in ("none", "") else ""
        lines.append(f"{c.verdict}: {c.number} of {cell_name(c)}{guided}: {told}")
    if len(moved) > NAMED:
        lines.append(f"and {len(moved) - NAMED} more that moved; --all shows every number")
    return "\n".join([*lines, *([" ".join(found.notes)] if found.notes else []), verdict(found)]) + "\n"


def table(found: Comparison, every: bool = False) -> Table:
    """A table of what moved (of every number with `every`), worst first."""
    rows = []
    for c in found.ranked(every):
        numbers = (value(c.old), value(c.new), effect(c), interval(c.change.low, c.change.high))
        rows.append((c.verdict, cell_name(c), c.guidance, c.number, *numbers, str(c.change.n_seeds), c.why))
    counts = ", ".join(f"{n} {v}" for v, n in found.counts.items())
    unit = "Effect: share of the old value (rewards: standard deviations), plus is better."
    return Table(f"{found.old} → {found.new}", HEADER, tuple(rows), " ".join([f"{counts}.", unit, *found.notes]))


def to_csv(found: Comparison) -> str:
    """Every number, exact."""
    rows = [
        (
            *(c.backbone, c.run, c.lambda_, c.guidance, c.space, c.metric, c.old, c.new, c.change.value),
            *(c.change.low, c.change.high, c.change.seed_low, c.change.seed_high, c.effect, c.unit, c.p),
            *(c.change.n_seeds, c.paired, c.verdict, c.why),
        )
        for c in found.changes
    ]
    return csv_text(COLUMNS, rows)
