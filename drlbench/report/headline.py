"""The headline in words: every sentence is made from numbers, and a failure is said as plainly as a success."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from drlbench.frontier.uncertainty import Dominance, Estimate
from drlbench.report.effects import Hacking, fd_ratio, stop_marker
from drlbench.report.fronts import BASE, Axis
from drlbench.report.rundata import RunData
from drlbench.report.words import family, metric_name, percent, seeds, times, with_intervals

CONTROL = "sft"


@dataclass(frozen=True)
class Sentence:
    """One finding; no `backbone`: the whole run. Topics: status, verdict, alone, caution, distance, front, hacking."""

    topic: str
    backbone: str
    text: str


@dataclass(frozen=True)
class Contest:
    """Whether the first family's front beats the second's."""

    backbone: str
    guidance: str
    x: Axis
    y: Axis
    first: str
    second: str
    volume: Dominance
    attainment: Dominance


def preference_families(run: RunData, backbone: str) -> list[str]:
    """Families trained on a preference reward."""
    return [
        name
        for name in run.runs
        if any(
            run.is_preference(r) for c in run.cells if (c.backbone, c.run) == (backbone, name) for r in run.optimised(c)
        )
    ]


def headline_lambda(run: RunData, backbone: str, name: str, guidance: str) -> float | None:
    """The ONE lambda a family is quoted at in every space: the best mean log FD ratio over the held-out spaces."""
    spaces = [s for s in run.spaces if run.held_out_space(s)] or list(run.spaces)

    def score(lambda_: float | None) -> float:
        logs = [np.log(fd_ratio(run, backbone, name, lambda_, guidance, s).estimate.value) for s in spaces]
        mean = float(np.mean(logs)) if logs else float("nan")
        return mean if math.isfinite(mean) else -math.inf

    return max(run.lambdas(backbone, name), key=score)


def sentences(run: RunData, guidance: str, contests: list[Contest], signs: list[Hacking]) -> Iterator[Sentence]:
    """The headline: completeness, then per backbone FD, fronts and reward hacking, without guidance."""
    for text in _completeness(run):
        yield Sentence("status", "", text)
    for backbone in run.backbones:
        for text in _distances(run, backbone, guidance):
            yield Sentence("distance", backbone, text)
        for text in _fronts(run, [c for c in contests if (c.backbone, c.guidance) == (backbone, guidance)]):
            yield Sentence("front", backbone, text)
        for text in _hacking([h for h in signs if h.backbone == backbone]):
            yield Sentence("hacking", backbone, text)


def _completeness(run: RunData) -> Iterator[str]:
    """What is missing comes first: nobody should read the rest as a finished run."""
    status = run.record.status
    bad = [c for c in run.record.cells if c.status != "ok"]
    if status != "complete" and not bad:
        yield f"The run is {status}: the {len(run.record.cells)} cells asked for are whole, the suite has more."
    elif status != "complete":
        yield f"The run is {status}: {len(bad)} of {len(run.record.cells)} cells have no full result."
    elif bad:
        yield f"{len(bad)} of {len(run.record.cells)} cells failed: {', '.join(c.id for c in bad[:4])}."


def _distances(run: RunData, backbone: str, guidance: str) -> Iterator[str]:
    preference = preference_families(run, backbone)
    for name in [n for n in run.runs if n not in (BASE, CONTROL, *preference)]:
        lambdas = run.lambdas(backbone, name)
        if not lambdas:
            continue
        lambda_, plain = headline_lambda(run, backbone, name, guidance), control_of(run, name)
        for space in run.spaces:
            ratio = fd_ratio(run, backbone, name, lambda_, guidance, space).estimate
            if not math.isfinite(ratio.value):
                continue
            where = _standing(run, backbone, name, lambda_, space)
            control = fd_ratio(run, backbone, plain, None, guidance, space).estimate
            beside = f"; {plain} control {times(control.value)}" if math.isfinite(control.value) else ""
            over = fd_ratio(run, backbone, name, lambda_, guidance, space, plain).estimate
            if math.isfinite(over.value):
                beside += f", over which it is {times(over.value)} {with_intervals(over)}"
            moved = _moved(ratio, f"FD in the {space} space ({where})")
            yield f"{family(name, lambda_)} {moved} against base{beside}."
        if len(lambdas) > 1:
            swept = ", ".join(f"{v:g}" for v in lambdas if v is not None)
            yield (
                f"{name} is quoted at one lambda for all spaces: {lambda_:g} of {swept}, the best mean FD ratio over "
                "the held-out spaces, chosen on these same numbers."
            )


def control_of(run: RunData, name: str) -> str:
    """The plain training beside a run: the one that has its cost and so perhaps its network (`match`), else `sft`."""
    cells = {cell.id: cell for cell in run.record.cells}
    plain = [(c.run, cells[c.matched].run) for c in cells.values() if c.algorithm == "sft" and c.matched in cells]
    own = [control for control, matched in plain if matched == name]
    return own[0] if own else CONTROL


def _standing(run: RunData, backbone: str, name: str, lambda_: float | None, space: str) -> str:
    """What a space is to a family: held out, kin of what its reward saw, or looked through, by it or by others only."""
    rewards = {r for cell in run.seeds(backbone, name, lambda_) for r in run.optimised(cell)}
    own = {encoder for reward in rewards for encoder in run.reward_record(reward).encoders}
    if not run.held_out_space(space):
        return "its reward looks through it" if space in own else "not held out: this suite trains through it"
    kin = run.kin(space) if own else ""
    return f"not trained in, but kin: it learned from {kin}" if kin else "not trained in"


def _moved(ratio: Estimate, what: str) -> str:
    low, high = (ratio.low, ratio.high) if math.isfinite(ratio.low) else (ratio.value, ratio.value)
    if low <= 1 <= high:
        return f"does not measurably move {what}: {times(ratio.value)} {with_intervals(ratio)}"
    shown = ratio if low > 1 else _inverse(ratio)
    if ratio.n_seeds < 2:
        way = "lower" if low > 1 else "HIGHER"
        return f"in this run: {what} is {times(shown.value)} {way} {with_intervals(shown)}"
    unsettled = ", not settled over seeds," if shown.seed_low <= 1 else ""
    return f"{'lowers' if low > 1 else 'RAISES'} {what} {times(shown.value)} {with_intervals(shown)}{unsettled}"


def _inverse(e: Estimate) -> Estimate:
    return Estimate(1 / e.value, 1 / e.high, 1 / e.low, 1 / e.seed_high, 1 / e.seed_low, e.n_seeds)


def axis_words(run: RunData, axis: Axis) -> str:
    """An axis in a sentence, saying whether it was trained on."""
    if axis.kind == "reward":
        by = [n for n in run.runs if any(axis.metric in run.optimised(c) for c in run.cells if c.run == n)]
        seen = f"optimised by {', '.join(by)}" if by else "held out"
        return f"{axis.metric} ({seen})"
    if axis.is_distance:
        return f"{metric_name(axis.metric)} drift"
    return f"{metric_name(axis.metric)} in {axis.space}" if axis.space else metric_name(axis.metric)


def _fronts(run: RunData, contests: list[Contest]) -> Iterator[str]:
    """One sentence per later family against the first one and per reward: where it is ahead, and how surely."""
    on_fd = [c for c in contests if c.x.kind == "fd" and c.second == contests[0].second]
    for first, second, y in dict.fromkeys((c.first, c.second, c.y) for c in on_fd):
        group = [c for c in on_fd if (c.first, c.second, c.y) == (first, second, y)]
        ahead = sum(c.volume.difference.value > 0 for c in group)
        n = group[0].volume.difference.n_seeds
        chance = "probability_seeds" if n > 1 else "probability"
        volumes = "; ".join(f"{c.x.space} {percent(getattr(c.volume, chance))}" for c in group)
        known = "probability over seeds" if n > 1 else "in this run, sampling only"
        how = f"{known}: {volumes}; {seeds(n)}"
        yield (
            f"{first} against {second} in {axis_words(run, y)} over FD: larger hypervolume in {ahead} of {len(group)} "
            f"spaces ({how})."
        )


def _hacking(rows: list[Hacking]) -> Iterator[str]:
    for name in dict.fromkeys(h.run for h in rows):
        group = [h for h in rows if h.run == name]
        paid = ", ".join(dict.fromkeys(r for h in group for r in h.trained))
        measured = any(h.optimised for h in group)
        first = next((h for h in group if h.signs), None)
        if first is None:
            yield f"{name}: no sign of reward hacking at any lambda (optimised: {paid})."
            continue
        stop = stop_marker(group)
        until = f"Clean up to lambda {stop:g}." if stop is not None else "Not clean at any lambda that was run."
        begin = f"from lambda {first.lambda_:g} on" if first.lambda_ is not None else "in its one setting"
        rises = "rises while" if measured else "was not measured, but"
        yield f"{name}: {begin}, the optimised reward ({paid}) {rises} {', '.join(first.signs)}. {until}"
