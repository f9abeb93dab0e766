"""The headline in a few lines: per backbone what DRL does to FD, whose front is ahead, where rewards are hacked.

Each line is made from the same numbers as the full sentences of `headline.py`, which carry the intervals.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from drlbench.frontier.uncertainty import Estimate
from drlbench.report.effects import Hacking, fd_ratio
from drlbench.report.fronts import BASE
from drlbench.report.headline import CONTROL, Contest, Sentence, axis_words, headline_lambda, preference_families
from drlbench.report.rundata import RunData
from drlbench.report.words import family, percent, times


def leads(run: RunData, guidance: str, contests: list[Contest], signs: list[Hacking]) -> Iterator[Sentence]:
    """The leads of a run, without guidance."""
    for backbone in run.backbones:
        fought = [c for c in contests if (c.backbone, c.guidance) == (backbone, guidance)]
        hacked = [h for h in signs if h.backbone == backbone]
        for text in (*_distances(run, backbone, guidance), *_fronts(run, fought), *_hacking(hacked)):
            yield Sentence("lead", backbone, text)


def _distances(run: RunData, backbone: str, guidance: str) -> Iterator[str]:
    """One line per family that no preference was part of: which way FD went in which space, and the control."""
    for name in run.runs:
        if name in (BASE, CONTROL, *preference_families(run, backbone)) or not run.lambdas(backbone, name):
            continue
        lambda_ = headline_lambda(run, backbone, name, guidance)
        ratios = {s: fd_ratio(run, backbone, name, lambda_, guidance, s).estimate for s in run.spaces}
        said = []
        for held_out in (True, False):
            spaces = [s for s in run.spaces if run.held_out_space(s) == held_out and math.isfinite(ratios[s].value)]
            lower = [s for s in spaces if _bounds(ratios[s])[0] > 1]
            higher = [s for s in spaces if _bounds(ratios[s])[1] < 1]
            for verb, moved, power in (("lowers", lower, 1), ("RAISES", higher, -1)):
                share = f"in {len(moved)} of {len(spaces)} held-out spaces" if held_out else "where its reward looks"
                if moved:
                    named = ", ".join(f"{s} {times(ratios[s].value ** power)}" for s in moved)
                    said.append(f"{verb} FD {share} ({named})")
            if level := [s for s in spaces if s not in lower + higher]:
                said.append(f"does not measurably move FD in {', '.join(level)}")
        if said:
            control = {s: fd_ratio(run, backbone, CONTROL, None, guidance, s).estimate.value for s in run.spaces}
            beside = [f"{s} {times(v)}" for s, v in control.items() if math.isfinite(v)]
            control_too = f". {CONTROL} control: {', '.join(beside)}" if beside else ""
            yield f"{family(name, lambda_)} {'; '.join(said)}{control_too}."


def _bounds(ratio: Estimate) -> tuple[float, float]:
    return (ratio.low, ratio.high) if math.isfinite(ratio.low) else (ratio.value, ratio.value)


def _fronts(run: RunData, contests: list[Contest]) -> Iterator[str]:
    """One line per later family against the first: on the held-out reward where there is one."""
    on_fd = [c for c in contests if c.x.kind == "fd" and c.second == contests[0].second]
    rewards = sorted({c.y for c in on_fd}, key=lambda y: not run.held_out_reward(y.metric))
    for first, second in dict.fromkeys((c.first, c.second) for c in on_fd):
        group = [c for c in on_fd if (c.first, c.second, c.y) == (first, second, rewards[0])]
        ahead = [c for c in group if c.volume.difference.value > 0]
        least = min((c.volume.probability for c in ahead), default=math.nan)
        surely = f"; probability {percent(least)}{' or more' if least < 0.99 else ''}" if ahead else ""
        yield (
            f"The front of {first} is ahead of {second}'s in {len(ahead)} of {len(group)} spaces (hypervolume of "
            f"{axis_words(run, rewards[0])} against FD{surely})."
        )


def _hacking(rows: list[Hacking]) -> Iterator[str]:
    """One line for all families: from which lambda on something held out gets worse while the reward rises."""
    begins, clean = [], []
    for name in dict.fromkeys(h.run for h in rows):
        first = next((h for h in rows if h.run == name and h.signs), None)
        if first is None:
            clean.append(name)
        else:
            begins.append(f"{name} from lambda {first.lambda_:g}" if first.lambda_ is not None else name)
    if begins:
        rest = f"; none in {', '.join(clean)}" if clean else ""
        yield f"Signs of reward hacking: {', '.join(begins)}{rest}."
    elif clean:
        yield f"No sign of reward hacking in {', '.join(clean)}."
