"""The verdict in one sentence: is DRL worth it here, against plain training and against preference RL alone?

No word is stronger than the seeds allow. With one seed everything is "in this run", because only sampling noise is
known; with several, a front is "ahead" where its lead over seeds is clear of zero, and "not settled" otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from drlbench.report.effects import Hacking, fd_ratio
from drlbench.report.fronts import BASE
from drlbench.report.headline import CONTROL, Contest, Sentence, control_of, headline_lambda, preference_families
from drlbench.report.rundata import RunData
from drlbench.report.words import lambda_text, percent, seeds, times

ONE_SEED = "one seed: sampling only"


def verdict(run: RunData, guidance: str, contests: list[Contest], signs: list[Hacking]) -> Iterator[Sentence]:
    """The sentence for all backbones together: preference RL after DRL against preference RL alone.

    Then DRL alone against base and plain training (the verdict itself where no preference was optimised); where no two
    fronts are compared, what preference RL does to its reward and to FD; and a caution where a reward was hacked.
    """
    fronts = [(b, text) for b in run.backbones for text in _front(run, b, guidance, contests)]
    alone = [(b, text) for b in run.backbones for text in _alone(run, b, guidance)]
    paid = [] if fronts else [(b, text) for b in run.backbones for text in _paid(run, b, signs)]
    topics = ["verdict", "alone", "alone"]
    for found in (fronts, alone, paid):
        if told := "; ".join(_gather(run, found)):
            named = told.partition(" ")[0] in run.runs  # a name is spelt as in the suite
            yield Sentence(topics.pop(0), "", (told[0] if named else told[0].upper()) + told[1:] + ".")
    if caution := _caution(run, signs):
        yield Sentence("caution", "", caution)


def _gather(run: RunData, told: list[tuple[str, str]]) -> Iterator[str]:
    """Each text once, with the backbones it holds for."""
    for text in dict.fromkeys(t for _, t in told):
        named = [b for b, t in told if t == text]
        yield f"on {' and '.join(named)}, {text}" if len(run.backbones) > 1 else text


def _front(run: RunData, backbone: str, guidance: str, contests: list[Contest]) -> Iterator[str]:
    """Preference RL after DRL against preference RL alone: held-out preference over FD in the held-out spaces."""
    names = preference_families(run, backbone)
    alone = next((n for n in names if n.startswith(f"{BASE}+")), None)
    after = next((n for n in names if "+" in n and not n.startswith(f"{BASE}+")), None)
    found = [
        c
        for c in contests
        if (c.backbone, c.guidance, c.first, c.second) == (backbone, guidance, after, alone) and c.x.kind == "fd"
    ]
    held = [c for c in found if run.held_out_space(c.x.space)] or found
    judged = [c for c in held if run.held_out_reward(c.y.metric)] or held
    if not judged:
        return
    group = [c for c in judged if c.y == judged[0].y]
    where = f"{len(group)} held-out spaces" if run.held_out_space(group[0].x.space) else f"{len(group)} spaces"
    n = min(c.volume.difference.n_seeds for c in group)
    leads = [c.volume.difference for c in group]
    ends = [(d.seed_low, d.seed_high) if n > 1 else (d.low, d.high) for d in leads]
    ahead, behind = sum(low > 0 for low, _ in ends), sum(high < 0 for _, high in ends)
    chance = [c.volume.probability_seeds for c in group if math.isfinite(c.volume.probability_seeds)]
    sure = f"probability over seeds {percent(min(chance))} to {percent(max(chance))}, " if chance else ""
    how = ONE_SEED if n < 2 else f"{sure}{seeds(n)}"
    # A lead that another seed may turn round is none: two machines must not be told opposite things.
    what = "beyond sampling noise in this run" if n < 2 else "settled over seeds"
    over = f"in {group[0].y.metric} against FD"
    start = str(after).partition("+")[0]
    if not ahead and not behind:
        yield (
            f"preference RL after {start} ({after}) and alone ({alone}), {over}: "
            f"no lead {what} in any of {where} ({how})"
        )
        return
    less = f" and behind in {behind}" if behind and ahead else ""
    told, many = ("ahead of", ahead) if ahead else ("BEHIND", behind)
    yield (
        f"preference RL after {start} ({after}) is {told} preference RL alone ({alone}) {over}, "
        f"in {many} of {where}{less}, {what} ({how})"
    )


def _alone(run: RunData, backbone: str, guidance: str) -> Iterator[str]:
    """The first family without a preference against base and plain training, and the ratios of the others."""
    known = (BASE, CONTROL, *preference_families(run, backbone))
    names = [n for n in run.runs if n not in known and run.lambdas(backbone, n)]
    spaces = [s for s in run.spaces if run.held_out_space(s)] or list(run.spaces)
    if not names:
        return
    name = names[0]
    lambda_ = headline_lambda(run, backbone, name, guidance)
    found = [fd_ratio(run, backbone, name, lambda_, guidance, s).estimate for s in spaces]
    found = [e for e in found if math.isfinite(e.value)]
    if not found:
        return
    n = min(e.n_seeds for e in found)
    ends = [(e.seed_low, e.seed_high) if n > 1 else (e.low, e.high) for e in found]
    lower, raised = sum(low > 1 for low, _ in ends), sum(high < 1 for _, high in ends)
    held = "held-out " if run.held_out_space(spaces[0]) else ""
    how = ONE_SEED if n < 2 else f"over {seeds(n)}"
    beside = _beside(run, backbone, name, lambda_, guidance, spaces, how)
    worse = all(e.value < 1 for e in found)
    by = _span([1 / e.value if worse else e.value for e in found])
    moved = f"{'MULTIPLIES' if worse else 'divides'} {held}FD by {by}, measurably in "
    moved += f"{raised if worse else lower} of {len(found)} spaces"
    if not lower and not raised:
        moved = f"does not measurably move {held}FD (base over run {_span([e.value for e in found])})"
    yield (
        f"{name}{_at(lambda_)} {moved}{f' and higher in {raised}' if raised and not worse else ''}"
        f"{' in this run' if n < 2 else ''} ({how}{beside}{_listed(run, backbone, names[1:], guidance, spaces)})"
    )


def _listed(run: RunData, backbone: str, names: list[str], guidance: str, spaces: list[str]) -> str:
    """Base over run of further families in the same spaces, from the least to the most."""
    told = []
    for name in names:
        lambda_ = headline_lambda(run, backbone, name, guidance)
        found = [fd_ratio(run, backbone, name, lambda_, guidance, s).estimate.value for s in spaces]
        if found := [v for v in found if math.isfinite(v)]:
            told.append(f"{name}{_at(lambda_)} {_span(found)}")
    return f"; base over run of the others: {', '.join(told)}" if told else ""


def _beside(
    run: RunData, backbone: str, name: str, lambda_: float | None, guidance: str, spaces: list[str], how: str
) -> str:
    """Plain training against the base, and in how many spaces the family is measurably ahead of it, or behind."""
    plain = control_of(run, name)
    control = [fd_ratio(run, backbone, plain, None, guidance, s).estimate.value for s in spaces]
    control = [v for v in control if math.isfinite(v)]
    if not control:
        return ""
    leads = [fd_ratio(run, backbone, name, lambda_, guidance, s, plain).estimate for s in spaces]
    leads = [e for e in leads if math.isfinite(e.value)]
    if not leads:
        return f"; plain training {_span(control)}"
    n = min(e.n_seeds for e in leads)
    ends = [(e.seed_low, e.seed_high) if n > 1 else (e.low, e.high) for e in leads]
    less, more = sum(low > 1 for low, _ in ends), sum(high < 1 for _, high in ends)
    told = [f"less in {less}"] * bool(less) + [f"MORE in {more}"] * bool(more)
    what = f"measurably {' and '.join(told)} of {len(leads)}" if told else f"measurably apart in none of {len(leads)}"
    own = ONE_SEED if n < 2 else f"over {seeds(n)}"
    return f"; plain training {_span(control)}, {what}{'' if own == how else f', {own}'}"


def _paid(run: RunData, backbone: str, signs: list[Hacking]) -> Iterator[str]:
    """Every preference family by itself: its own reward against the base, and FD, over all lambdas."""
    for name in preference_families(run, backbone):
        rows = [h for h in signs if (h.backbone, h.run) == (backbone, name) and h.optimised]
        spaces = {d.space for h in rows for d in h.distances if run.held_out_space(d.space)}
        held = "held-out " if spaces else ""
        ratios = [d.estimate.value for h in rows for d in h.distances if not spaces or d.space in spaces]
        ratios = [v for v in ratios if math.isfinite(v)]
        gains = [h.optimised[0].estimate for h in rows if math.isfinite(h.optimised[0].estimate.value)]
        if not gains or not ratios:
            continue
        n = min(e.n_seeds for e in gains)
        ends = [(e.seed_low, e.seed_high) if n > 1 else (e.low, e.high) for e in gains]
        weights = [h.lambda_ for h in rows if h.lambda_ is not None]
        at = (
            f" (lambda {' to '.join(f'{w:g}' for w in dict.fromkeys((min(weights), max(weights))))})" if weights else ""
        )
        by = " to ".join(dict.fromkeys(f"{v:+.2f}" for v in (min(e.value for e in gains), max(e.value for e in gains))))
        by = by.replace("-", "−")
        what = "beyond sampling noise in this run" if n < 2 else "settled over seeds"
        reward = rows[0].optimised[0].metric
        how = ONE_SEED if n < 2 else seeds(n)
        ups, downs = sum(low > 0 for low, _ in ends), sum(high < 0 for _, high in ends)
        yield (
            f"{name}{at} moves its reward {reward} by {by} standard deviations of the base, up at {ups} "
            f"and DOWN at {downs} of {len(gains)} lambdas {what}; {held}FD (base over run) is {_span(ratios)} ({how})"
        )


def _at(lambda_: float | None) -> str:
    return "" if lambda_ is None else f" (lambda {lambda_:g})"


def _span(values: list[float]) -> str:
    return " to ".join(dict.fromkeys((times(min(values)), times(max(values)))))


def _caution(run: RunData, signs: list[Hacking]) -> str:
    """From which lambda on FD or a held-out reward gets worse while a reward rises, over all backbones."""
    said = []
    for backbone in run.backbones:
        rows = [h for h in signs if h.backbone == backbone]
        first = {n: next((h for h in rows if h.run == n and h.signs), None) for n in dict.fromkeys(h.run for h in rows)}
        begins = [f"{n}{_from(h)}{_where(h)}" for n, h in first.items() if h]
        said += [(backbone, ", ".join(begins))] if begins else []
    return f"Signs of reward hacking: {'; '.join(_gather(run, said))}." if said else ""


def _from(row: Hacking) -> str:
    return "" if row.lambda_ is None else f" from {lambda_text(row.lambda_)}"


def _where(row: Hacking) -> str:
    """Said of a sign that only spaces show which a reward looks through: there nothing held out got worse."""
    fallen = any(g.estimate.high < 0 for g in row.held_out)
    risen = [d for d in row.distances if d.estimate.high < 1]
    if fallen or any(d.held_out for d in risen):
        return ""
    return f" (only in {', '.join(d.space for d in risen)}, not held out)"
