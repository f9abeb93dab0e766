"""Many runs on one page: every checkpoint whose distances were measured alike in one ranking, the published beside.

A ranking holds the checkpoints whose FD has the same signature but for the sampler, which is part of what competes:
encoder weights, reference, number of samples and measuring code agree. The paper's printed numbers join the rankings of
runs on ImageNet's 1000 classes, marked as what they are: measured elsewhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from drlbench.frontier.uncertainty import Estimate
from drlbench.metrics.signature import read_signature
from drlbench.report.effects import mean_over_seeds
from drlbench.report.load import Results
from drlbench.report.published import comparable, normal, paper_backbone, published, rivals
from drlbench.report.results import DATA
from drlbench.report.scorecard import shown
from drlbench.report.tables import Table
from drlbench.report.words import digits, metric_name
from drlbench.store import atomic

BESIDE = ("fd_val", "kd_x1000", "precision", "recall", "coverage")
HEADER = ("run", "backbone", "model", "lambda", "guidance", "FD", *map(metric_name, BESIDE), "KL (nats)", "seeds")
KEYS = ["backbone", "run", "lambda", "guidance", "space"]
CSV_HEADER = (
    *("space", "measured", "folder", "backbone", "run", "lambda", "guidance", "fd", "low", "high"),
    *("seed_low", "seed_high", "n_seeds", "rank"),
)


@dataclass(frozen=True)
class Entry:
    """One checkpoint (mean over its seeds) in one space; `printed` for a published number."""

    folder: str
    backbone: str
    run: str
    lambda_: float | None
    guidance: str
    fd: Estimate
    beside: tuple[Estimate | None, ...]
    kl: float
    printed: str = ""


@dataclass(frozen=True)
class Ranking:
    """Checkpoints that compare: one space, one way of measuring; best first."""

    space: str
    measured: str
    entries: tuple[Entry, ...]

    def to_table(self) -> Table:
        """The ranking as text."""
        rows = []
        for e in self.entries:
            beside = ["" if b is None or not math.isfinite(b.value) else digits(b.value) for b in e.beside]
            weight = "" if e.lambda_ is None else f"{e.lambda_:g}"
            numbers = (e.printed or shown(e.fd), *beside, digits(e.kl) if math.isfinite(e.kl) else "")
            seeds = "published" if e.printed else str(e.fd.n_seeds)
            rows.append((e.folder, e.backbone, e.run, weight, e.guidance, *numbers, seeds))
        return Table(f"FD in {self.space}", HEADER, tuple(rows), f"Measured as {self.measured}.")


def measured_as(signature: str) -> str:
    """A signature without its sampler: equal texts mean comparable checkpoints."""
    parts = read_signature(signature)
    if len(parts) < 2:
        return signature
    return "|".join(f"{k}:{v}" for k, v in parts.items() if k not in ("metric", "sampler"))


def rankings(results: Results) -> list[Ranking]:
    """Every ranking of the runs, the largest first."""
    found: dict[tuple[str, str], list[Entry]] = {}
    for name, run in zip(results.names, results.runs, strict=True):
        frame = run.results
        distances = frame[(frame["metric"] == "fd") & (frame["run"] != DATA)]
        for _, group in distances.groupby(KEYS, dropna=False, sort=False):
            backbone, family, guidance, space = group[["backbone", "run", "guidance", "space"]].iloc[0].tolist()
            lambda_ = float(group["lambda"].iloc[0])
            weight = None if math.isnan(lambda_) else lambda_
            at = (run, backbone, family, weight, guidance)
            fd = mean_over_seeds(*at, space, "fd")
            if not math.isfinite(fd.value):
                continue
            beside = tuple(mean_over_seeds(*at, space, m) for m in BESIDE)
            kl = mean_over_seeds(*at, "", "kl_nats").value
            key = space, " and ".join(sorted({measured_as(s) for s in group["signature"]}))
            entry = Entry(name, backbone, family, weight, guidance, fd, beside, kl)
            found.setdefault(key, []).append(entry)
    for key, entries in found.items():
        entries += _printed(results, key[0], entries)
        entries.sort(key=lambda e: e.fd.value)
    return [Ranking(*k, tuple(v)) for k, v in sorted(found.items(), key=lambda kv: -len(kv[1]))]


def _printed(results: Results, space: str, entries: list[Entry]) -> list[Entry]:
    """The paper's and its rivals' rows for the backbones and the space of a ranking whose runs are on the same data."""
    runs = dict(zip(results.names, results.runs, strict=True))
    names = {paper_backbone(runs[e.folder], e.backbone) for e in entries if comparable(runs[e.folder])} - {""}
    unknown, space_name = float("nan"), normal(space)
    rows = []
    for p in published() if names else ():
        if p.metric == "fd" and p.table in "23" and p.backbone in names and normal(p.feature_space) == space_name:
            value = Estimate(float(p.value), unknown, unknown, unknown, unknown, 0)
            weight = float(p.lam) if p.lam else None
            beside = (None,) * len(BESIDE)
            rows.append(
                Entry(p.source, p.backbone, p.method, weight, f"cfg {p.cfg}", value, beside, unknown, printed=p.value)
            )
    for q in rivals() if names else ():
        if (
            (q.metric, q.data) == ("fd", "imagenet-256")
            and q.backbone in names
            and normal(q.feature_space) == space_name
        ):
            value = Estimate(float(q.value), unknown, unknown, unknown, unknown, 0)
            beside = (None,) * len(BESIDE)
            rows.append(
                Entry(q.source, q.backbone, q.method, None, q.guidance, value, beside, unknown, printed=q.value)
            )
    return rows


def write_leaderboard(results: Results, folder: Path) -> Path:
    """Write leaderboard.html and leaderboard.csv; returns the page's path."""
    from drlbench.report.html_runs import render_leaderboard

    found = rankings(results)
    rows = [
        (r.space, r.measured, e.folder, e.backbone, e.run, e.lambda_, e.guidance, e.fd.value, *_ends(e.fd), i)
        for r in found
        for i, e in enumerate(r.entries, 1)
    ]
    atomic.write_text(folder / "leaderboard.csv", Table("", CSV_HEADER, tuple(rows)).to_csv())
    atomic.write_text(folder / "leaderboard.html", render_leaderboard(results, found))
    return folder / "leaderboard.html"


def _ends(e: Estimate) -> tuple[float | int | None, ...]:
    known = [v if math.isfinite(v) else None for v in (e.low, e.high, e.seed_low, e.seed_high)]
    return (*known, e.n_seeds)
