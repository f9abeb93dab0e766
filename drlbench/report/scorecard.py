"""The scorecard: every family at ONE checkpoint, held-out numbers first, best marked only where the seeds say so."""

from __future__ import annotations

import math
from dataclasses import dataclass

from drlbench.frontier.uncertainty import Estimate
from drlbench.report.effects import Hacking, best_of, bounds, mean_over_seeds, preference_gain
from drlbench.report.fronts import BASE
from drlbench.report.headline import headline_lambda, preference_families
from drlbench.report.rundata import RunData
from drlbench.report.tables import Table
from drlbench.report.words import digits, family, interval, metric_name

RULE = (
    "One checkpoint a row, the same in every column. Families trained on a preference stand at the lambda with the "
    "highest held-out preference among those without a sign of reward hacking, else at the smallest (marked !); others "
    "at the lambda with the best mean log FD over the held-out spaces. Chosen on these same numbers."
)


@dataclass(frozen=True)
class Column:
    """One number of the scorecard; `held_out` when nothing was trained on it, `better` lower or higher (or empty)."""

    title: str
    space: str
    metric: str
    held_out: bool
    better: str


@dataclass(frozen=True)
class Line:
    """One family at one lambda; `scores` in the order of the columns, `best` which of them are the column's best."""

    backbone: str
    run: str
    lambda_: float | None
    seeds: int
    hacked: bool
    scores: tuple[Estimate, ...]
    best: tuple[bool, ...]
    seconds: float

    @property
    def name(self) -> str:
        """`drl (lambda 1)`, with ! where reward hacking shows."""
        return family(self.run, self.lambda_) + (" !" if self.hacked else "")


@dataclass(frozen=True)
class Scorecard:
    """The lines of every backbone under one guidance."""

    guidance: str
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]

    def held_out(self) -> int:
        """How many columns come first because nothing was trained on them; cost and seeds stand after them."""
        return next((i for i, c in enumerate(self.columns) if not c.held_out), len(self.columns))

    def to_table(self, short: bool = False) -> Table:
        """The scorecard for a terminal or a document: `value [interval]`, * for the best.

        Args:
            short: without the columns that training had in view.
        """
        several = len({x.backbone for x in self.lines}) > 1
        told = self.held_out()
        last = told if short else len(self.columns)
        titles = [c.title for c in self.columns]
        header = (*(("backbone",) if several else ()), "run", *titles[:told], "training", "seeds", *titles[told:last])
        rows = []
        for x in self.lines:
            cells = [shown(e) + (" *" if b else "") for e, b in zip(x.scores, x.best, strict=True)]
            cost = (minutes(x.seconds), str(x.seeds))
            rows.append((*((x.backbone,) if several else ()), x.name, *cells[:told], *cost, *cells[told:last]))
        one = all(x.seeds <= 1 for x in self.lines)
        what = "sampling only: one seed, so no best is marked" if one else "over seeds where a row has several"
        note = f"95 % intervals, {what}. † held out. * best, its interval clear of the next. ! signs of reward hacking."
        return Table("Scorecard", header, tuple(rows), note)


def shown(e: Estimate) -> str:
    """`2.21 [1.98, 2.40]`."""
    if not math.isfinite(e.value):
        return "–"
    text = interval(*bounds(e)).replace(" to ", ", ")
    return f"{digits(e.value)} [{text}]" if text else digits(e.value)


def minutes(seconds: float) -> str:
    """Training time of one cell: `1.2 min`, `3.4 h`, a dash where none was needed."""
    if not seconds:
        return "–"
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"


def columns(run: RunData) -> tuple[Column, ...]:
    """FD in the held-out spaces, held-out preferences, recall, KL; then what training had in view."""
    measured = {(r.space, r.metric) for r in run.rows}
    spaces = [s for s in run.spaces if (s, "fd") in measured]
    held = [s for s in spaces if run.held_out_space(s)]
    rewards = [r for r in run.rewards if run.is_preference(r)]
    recall = next((s for s in [*held, *spaces] if (s, "recall") in measured), None)
    found = [Column(f"FD {s} †", s, "fd", True, "lower") for s in held]
    found += [Column(f"{r} †", "", r, True, "higher") for r in rewards if run.held_out_reward(r)]
    found += [Column(f"recall {recall}", recall, "recall", run.held_out_space(recall), "higher")] if recall else []
    found += [Column(metric_name("kl_nats"), "", "kl_nats", True, "")] if ("", "kl_nats") in measured else []
    found += [Column(f"FD {s}", s, "fd", False, "lower") for s in spaces if s not in held]
    return (*found, *(Column(r, "", r, False, "higher") for r in rewards if not run.held_out_reward(r)))


def quoted_lambda(run: RunData, backbone: str, name: str, guidance: str, signs: tuple[Hacking, ...]) -> float | None:
    """The ONE lambda a family is quoted at; see `RULE`."""
    lambdas = run.lambdas(backbone, name)
    if name not in preference_families(run, backbone):
        return headline_lambda(run, backbone, name, guidance)
    hacked = {h.lambda_ for h in signs if (h.backbone, h.run) == (backbone, name) and h.signs}
    clean = [v for v in lambdas if v not in hacked]
    if not clean:
        return lambdas[0]
    tastes = [r for r in run.rewards if run.is_preference(r)]
    judges = [r for r in tastes if run.held_out_reward(r)] or tastes

    def gain(lambda_: float | None) -> float:
        found = [preference_gain(run, backbone, name, lambda_, guidance, r).estimate.value for r in judges]
        mean = sum(found) / len(found) if found else math.nan
        return mean if math.isfinite(mean) else -math.inf

    return max(clean, key=gain)


def scorecard(run: RunData, guidance: str, signs: tuple[Hacking, ...]) -> Scorecard:
    """Every family of every backbone under one guidance."""
    shown_columns = columns(run)
    lines = []
    for backbone in run.backbones:
        own = []
        for name in (n for n in run.runs if run.lambdas(backbone, n)):
            lambda_ = quoted_lambda(run, backbone, name, guidance, signs)
            cells = run.seeds(backbone, name, lambda_)
            scores = [
                Estimate(0.0, math.nan, math.nan, math.nan, math.nan, len(cells))
                if c.metric == "kl_nats" and name == BASE
                else mean_over_seeds(run, backbone, name, lambda_, guidance, c.space, c.metric)
                for c in shown_columns
            ]
            if not any(math.isfinite(e.value) for e in scores):
                continue
            seconds = [s for c in cells if (s := run.cell_record(c).seconds)]
            marked = any(h.signs for h in signs if (h.backbone, h.run, h.lambda_) == (backbone, name, lambda_))
            cost = sum(seconds) / len(seconds) if seconds else 0.0
            own.append((name, lambda_, len(cells), marked, tuple(scores), cost))
        best = [best_of([x[4][i] for x in own], c.better) for i, c in enumerate(shown_columns)]
        lines += [Line(backbone, *x[:5], tuple(j == b for b in best), x[5]) for j, x in enumerate(own)]
    return Scorecard(guidance, shown_columns, tuple(lines))
