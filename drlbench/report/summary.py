"""summary.json: FD ratios, hypervolumes, dominance probabilities and the headline in words, all from the results."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from drlbench.frontier.pareto import Floats, reference_point
from drlbench.frontier.uncertainty import (
    Estimate,
    attainment_dominance,
    hypervolume_dominance,
    hypervolume_estimate,
)
from drlbench.report.effects import Effect, Hacking, fd_ratio, hacking_table, mean_over_seeds
from drlbench.report.fronts import BASE, Axis, Front, axes, front
from drlbench.report.headline import Contest, Sentence, preference_families, sentences
from drlbench.report.rundata import RunData
from drlbench.report.scorecard import Scorecard, scorecard
from drlbench.report.verdict import verdict

SCHEMA = 1
LEADS = ("status", "verdict", "alone", "caution")
MOST_TOLD = 4  # guidances; of a longer sweep table.csv and frontier.csv have the rest
REFERENCE_RULE = (
    "Per backbone, guidance and pair of axes: the worst value of each axis over the points of every family (mean over "
    "seeds and each seed alone), plus 10 % of the range; the ideal is the best value. A hypervolume is the share of "
    "the box between the two. Points that do not beat the reference add nothing. Of a sweep of more than "
    f"{MOST_TOLD} guidances two are judged: none, and the one with the lowest FD of the bases."
)
INTERVAL_RULE = (
    "low, high: 95 % percentile interval over paired bootstrap replicates of the generated samples, checkpoints fixed, "
    "replicates centred on the measured value. seed_low, seed_high: the RL seed is drawn anew too (Student t over "
    "seeds plus the sampling noise the seeds share); absent with one seed."
)


@dataclass(frozen=True)
class Volume:
    """A family's hypervolume on one pair of axes, as a share of the box."""

    backbone: str
    guidance: str
    x: Axis
    y: Axis
    run: str
    points: int
    share: Estimate
    ideal: tuple[float, float]
    reference: tuple[float, float]


@dataclass(frozen=True)
class Summary:
    """What `build_report` found; `to_json` is summary.json."""

    suite: str
    ratios: tuple[Effect, ...]
    volumes: tuple[Volume, ...]
    contests: tuple[Contest, ...]
    hacking: tuple[Hacking, ...]
    headline: tuple[Sentence, ...]
    plain_guidance: str
    scorecard: Scorecard

    def in_short(self) -> list[str]:
        """The headline's first lines: what is missing, the verdict, DRL alone, and a caution."""
        return [s.text for s in self.leads()]

    def leads(self) -> list[Sentence]:
        """The headline's first sentences."""
        return [s for s in self.headline if s.topic in LEADS]

    def to_json(self) -> dict[str, Any]:
        """Plain values with sorted meaning: NaN and infinity become null."""
        return {
            "schema": SCHEMA,
            "suite": self.suite,
            "headline": [asdict(s) for s in self.headline],
            "guidance": self.plain_guidance,
            "reference_rule": REFERENCE_RULE,
            "interval_rule": INTERVAL_RULE,
            **{k: plain([asdict(v) for v in getattr(self, k)]) for k in ("ratios", "volumes", "contests", "hacking")},
            "scorecard": plain(asdict(self.scorecard)),
        }


def plain(value: Any) -> Any:
    """JSON has no NaN: make it null, all the way down."""
    if isinstance(value, dict):
        return {k.rstrip("_"): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return value


def plain_guidance(run: RunData) -> str:
    """The guidance whose scale is 1 (none), or the first."""
    unguided = {r.guidance for r in run.rows if r.cfg in (None, 1.0)}
    return next((g for g in run.guidances if g in unguided), run.guidances[0] if run.guidances else "")


def best_guidance(run: RunData) -> str:
    """The guidance other than none under which the bases' FD is lowest (mean of its logarithm), or an empty string."""

    def score(guidance: str) -> float:
        values = [
            mean_over_seeds(run, backbone, BASE, None, guidance, space, "fd").value
            for backbone in run.backbones
            for space in run.spaces
        ]
        finite = [math.log(v) for v in values if math.isfinite(v) and v > 0]
        return sum(finite) / len(finite) if finite else math.inf

    plain = plain_guidance(run)
    guided = [g for g in run.guidances if g != plain]
    return min(guided, key=score, default="")


def told_guidances(run: RunData) -> tuple[str, ...]:
    """The guidances the page prints and fronts are compared under: all, or none and the best of a long sweep."""
    few = len(run.guidances) <= MOST_TOLD
    return run.guidances if few else (plain_guidance(run), best_guidance(run))


def all_fronts(run: RunData, backbone: str, guidance: str, x: Axis, y: Axis) -> dict[str, Front]:
    """Every family's front on one pair of axes."""
    found = {name: front(run, backbone, guidance, name, x, y) for name in run.runs}
    return {name: f for name, f in found.items() if f is not None}


def box(fronts: dict[str, Front]) -> tuple[Floats, Floats]:
    """The ideal and the reference point all families of one picture share."""
    return reference_point(*(f.costs.reshape(-1, 2) for f in fronts.values()))


def paired_seeds(a: Front, b: Front) -> tuple[Front, Front]:
    """Both fronts on the seeds they share, in the same order."""
    both = [s for s in a.seeds if s in b.seeds]
    return _take(a, both), _take(b, both)


def _take(f: Front, seeds: list[str]) -> Front:
    at = [f.seeds.index(s) for s in seeds]
    cells = tuple(tuple(point[i] for i in at) for point in f.cells)
    return Front(f.backbone, f.guidance, f.run, f.x, f.y, cells, f.values[at], f.costs[at], f.replicates[at])


def volumes_and_contests(run: RunData) -> tuple[list[Volume], list[Contest]]:
    """Hypervolumes of every family, and every later preference family against every earlier one."""
    volumes, contests, pairs = [], [], axes(run)
    for backbone in run.backbones:
        rivals = preference_families(run, backbone)
        for guidance in told_guidances(run):
            for x, y in pairs:
                fronts = all_fronts(run, backbone, guidance, x, y)
                if not fronts:
                    continue
                ideal, reference = box(fronts)
                corners = (_corner(ideal), _corner(reference))
                for name, f in fronts.items():
                    share = hypervolume_estimate(f.costs, f.replicates, ideal, reference)
                    volumes.append(Volume(backbone, guidance, x, y, name, len(f.cells), share, *corners))
                names = [n for n in rivals if n in fronts]
                for i, second in enumerate(names):
                    for first in names[i + 1 :]:
                        a, b = paired_seeds(fronts[first], fronts[second])
                        if a.seeds:
                            contests.append(_contest(a, b, ideal, reference))
    return volumes, contests


def _corner(point: Floats) -> tuple[float, float]:
    return float(point[0]), float(point[1])


def _contest(a: Front, b: Front, ideal: Floats, reference: Floats) -> Contest:
    count = min(a.replicates.shape[1], b.replicates.shape[1])
    draws = a.replicates[:, :count], b.replicates[:, :count]
    by_volume = hypervolume_dominance(a.costs, b.costs, *draws, ideal, reference)
    by_level = attainment_dominance(a.costs, b.costs, *draws)
    return Contest(a.backbone, a.guidance, a.x, a.y, a.run, b.run, by_volume, by_level)


def summarise(run: RunData) -> Summary:
    """Everything summary.json holds."""
    guidance = plain_guidance(run)
    ratios = [
        fd_ratio(run, backbone, name, lambda_, guidance, space)
        for backbone in run.backbones
        for name in run.runs
        if name != BASE
        for lambda_ in run.lambdas(backbone, name)
        for space in run.spaces
    ]
    volumes, contests = volumes_and_contests(run)
    signs = hacking_table(run, guidance)
    told = tuple(sentences(run, guidance, contests, signs))
    return Summary(
        suite=run.record.suite,
        ratios=tuple(ratios),
        volumes=tuple(volumes),
        contests=tuple(contests),
        hacking=tuple(signs),
        headline=(
            *(s for s in told if s.topic == "status"),
            *verdict(run, guidance, contests, signs),
            *(s for s in told if s.topic != "status"),
        ),
        plain_guidance=guidance,
        scorecard=scorecard(run, guidance, tuple(signs)),
    )
