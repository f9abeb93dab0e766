"""What a run attained of what its objective allows, from the stage of the exact tilt beside it.

J(p) = E_p[l] - KL(p|start) with l the reward terms by their weights: the start has J_0 = E_start[l], the tilt J*, and
KL(policy|tilt) = J* - J. A policy's KL is read off its velocities (`kl_nats`; `kl_start_nats` from another run's);
where those are not the velocities of its own marginals, the share says so by leaving [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from drlbench.metrics.tilt import SHARE_REFUSED
from drlbench.run.reading import Reader, Score
from drlbench.run.signatures import signature

if TYPE_CHECKING:
    from drlbench.plan.graph import CellPlan, Plan
    from drlbench.plan.node import Node

Number = tuple[float, float]
"""A value and its standard error."""
Z = 1.96


@dataclass
class Bound:
    """Numbers of a cell's tilt with their signatures, what the cell attained of it, and what is to be said of both."""

    rows: list[tuple[Score, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def bound_of(plan: Plan, reader: Reader, cell: CellPlan) -> Bound:
    """Everything that the stage of the tilt beside a cell says of it; nothing where there is none.

    The share needs unguided samples, which the terms of the first round judge; without them a note says why it is left
    out.
    """
    found, node, where = Bound(), cell.tilt, cell.cell.id
    if node is None or not reader.has(node):
        if node is None and plan.spec.tilt_samples and _tilts_the_data(plan, cell):
            found.notes = [f"{where}: attainable_share is not defined: its reward tilts the data, not the model"]
        return found
    own = [score for score in _rows(reader, node) if score.lambda_ == cell.cell.lambda_]
    found.rows = [(score, signature(plan, reader, node, score)) for score in own]
    about = dict.fromkeys(note for score in own if not score.space for note in score.notes)  # the weights
    found.notes = [f"{where}: {note}" for note in about]
    found.notes += dict.fromkeys(note for score in own for note in score.notes if note not in about)
    tilt = {s.metric: _number(s) for s in own if not s.space}
    kl = cell.kl if plan.spec.runs[cell.cell.run].start is None else cell.kl_start
    if kl is not None and kl is cell.kl_start and reader.has(kl):
        row = _rows(reader, kl)[0].model_copy(update={"metric": "kl_start_nats"})
        found.rows.append((row, signature(plan, reader, kl, row)))
    why = ""
    if not cell.terms:
        why = "the cell is measured under guidance only"
    elif tilt["tilt_effective_share"][0] < SHARE_REFUSED:
        why = f"under {SHARE_REFUSED:.0%} of the samples carry the weights of its tilt"
    elif kl is None:
        why = "the suite asks for no kl_samples"
    if why:
        found.notes.append(f"{where}: attainable_share is not defined: {why}")
    elif kl is not None and all(reader.has(n) for n in (*cell.terms.values(), kl)):
        rewards = {name: _number(_rows(reader, judge)[0]) for name, judge in cell.terms.items()}
        rows = attained(tilt, rewards, _weights(plan, cell), _number(_rows(reader, kl)[0]), plan.spec.sampling.n)
        found.rows += [(score := Score(**row), signature(plan, reader, node, score)) for row in rows]
        if found.rows[-1][0].metric != "nats_per_reward":
            found.notes.append(f"{where}: nats_per_reward is left out: its reward is not measurably above its start's")
        if plan.spec.runs[cell.cell.run].rounds > 1:
            found.notes.append(f"{where}: attainable_share is of its first round's objective; later rounds leave it")
    return found


def _tilts_the_data(plan: Plan, cell: CellPlan) -> bool:
    run = plan.spec.runs[cell.cell.run]
    return run.reward is not None and run.algorithm is not None and plan.spec.algorithms[run.algorithm].kind == "ddo"


def _weights(plan: Plan, cell: CellPlan) -> dict[str, float]:
    """Of every reward term of a cell."""
    run = plan.spec.runs[cell.cell.run]
    return {**run.with_, str(run.reward): float(cell.cell.lambda_ or 1.0)}


def _rows(reader: Reader, node: Node) -> list[Score]:
    return reader.record(node, "rows.json", list[Score])


def _number(score: Score) -> Number:
    """The value and half its interval's width as 1.96 standard errors."""
    low, high = score.low, score.high
    return score.value, math.nan if low is None or high is None else (high - low) / (2 * Z)


def attained(
    tilt: Mapping[str, Number], rewards: Mapping[str, Number], weights: Mapping[str, float], kl: Number, n: int
) -> Iterator[dict[str, Any]]:
    """Rows `attainable_share`, `tilt_gap_nats` and `nats_per_reward` of one cell.

    Args:
        tilt: `tilt_objective` and `tilt_start` at the cell's lambda.
        rewards: mean of every term on the cell's samples; weights: of every term; kl: from the start, nats.

    Intervals are 1.96 standard errors of the parts, taken as independent: sampling only, one fit of everything. That of
    `nats_per_reward`, a ratio, is Fieller's; without a gain that is measurably above zero it has none and is left out.
    """
    value = sum(weights[name] * rewards[name][0] for name in weights)
    noise = math.hypot(*(weights[name] * rewards[name][1] for name in weights))
    spread = math.hypot(noise, kl[1])
    best, start = tilt["tilt_objective"], tilt["tilt_start"]
    objective, room = value - kl[0], best[0] - start[0]
    share = (objective - start[0]) / room
    # d share: the objective's over the room, and those of both ends.
    error = math.hypot(spread, (1 - share) * start[1], share * best[1]) / abs(room)
    yield _row("attainable_share", share, error, n, "higher")
    yield _row("tilt_gap_nats", best[0] - objective, math.hypot(spread, best[1]), n, "lower")
    gain, error = value - start[0], math.hypot(noise, start[1])
    if gain > Z * error:
        low, high = fieller(kl, (gain, error))
        yield {**_row("nats_per_reward", kl[0] / gain, 0.0, n, "lower"), "low": low, "high": high}


def fieller(above: Number, below: Number) -> tuple[float, float]:
    """Ends of the 95 % interval of a ratio of two independent numbers, the lower measurably above zero (Fieller 1954).

    It holds every q with |above - q below| within 1.96 of its standard errors.
    """
    a = below[0] ** 2 - (Z * below[1]) ** 2
    b, c = above[0] * below[0], above[0] ** 2 - (Z * above[1]) ** 2
    half = math.sqrt(b * b - a * c)
    return (b - half) / a, (b + half) / a


def _row(metric: str, value: float, error: float, n: int, better: str) -> dict[str, Any]:
    low, high = value - Z * error, value + Z * error
    return {"metric": metric, "value": value, "low": low, "high": high, "n": n, "better": better, "notes": []}
