"""What a run attained of what its objective allows, from the stage of the exact tilt beside it.

J(p) = E_p[l] - KL(p|start) with l the reward terms by their weights: the start has J_0 = E_start[l], the tilt J*, and
KL(policy|tilt) = J* - J. A policy's KL is read off its velocities (`kl_nats`); where those are not the velocities of
its own marginals, the share says so by leaving [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from drlbench.run.reading import Reader, Score
from drlbench.run.signatures import signature

if TYPE_CHECKING:
    from drlbench.plan.graph import CellPlan, Plan
    from drlbench.plan.node import Node

Number = tuple[float, float]
"""A value and its standard error."""


def bound_rows(plan: Plan, reader: Reader, cell: CellPlan) -> Iterator[tuple[Score, str]]:
    """Numbers of a cell's tilt with their signatures, and of what the cell attained of it.

    The second kind needs the start to be the base that `kl_nats` is taken from, unguided samples, and every reward term
    among the suite's `preferences`, which judge by the first round's discriminator.
    """
    node = cell.tilt
    if node is None or not reader.has(node):
        return
    own = [score for score in _rows(reader, node) if score.lambda_ == cell.cell.lambda_]
    for score in own:
        yield score, signature(plan, reader, node, score)
    run = plan.spec.runs[cell.cell.run]
    terms = {**run.with_, str(run.reward): float(cell.cell.lambda_ or 1.0)}
    unguided = [m for g in plan.spec.guidance if g.cfg == 1 and (m := cell.measured.get(g.name))]
    judges = unguided[0].preference if unguided else {}
    nodes = [*(judges.get(name) for name in terms), cell.kl]
    if run.start is not None or any(n is None or not reader.has(n) for n in nodes):
        return
    found = {n.kind + n.settings.get("name", ""): _rows(reader, n)[0] for n in nodes if n is not None}
    tilt = {s.metric: _number(s) for s in own if not s.space and s.low is not None}
    rewards = {name: _number(found[f"preference{name}"]) for name in terms}
    for row in attained(tilt, rewards, terms, _number(found["kl"]), plan.spec.sampling.n):
        score = Score(**row)
        yield score, signature(plan, reader, node, score)


def _rows(reader: Reader, node: Node) -> list[Score]:
    return reader.record(node, "rows.json", list[Score])


def _number(score: Score) -> Number:
    low, high = score.low, score.high
    return score.value, math.nan if low is None or high is None else (high - low) / (2 * 1.96)


def attained(
    tilt: Mapping[str, Number], rewards: Mapping[str, Number], weights: Mapping[str, float], kl: Number, n: int
) -> Iterator[dict[str, Any]]:
    """Rows `attainable_share`, `tilt_gap_nats` and `nats_per_reward` of one cell.

    Args:
        tilt: `tilt_objective` and `tilt_start` at the cell's lambda.
        rewards: mean of every term on the cell's samples; weights: of every term; kl: from the start, nats.

    Intervals are 1.96 standard errors of the parts, taken as independent: sampling only, one fit of everything.
    """
    value = sum(weights[name] * rewards[name][0] for name in weights)
    spread = math.hypot(*(weights[name] * rewards[name][1] for name in weights), kl[1])
    best, start = tilt["tilt_objective"], tilt["tilt_start"]
    objective, room = value - kl[0], best[0] - start[0]
    share = (objective - start[0]) / room
    # d share: the objective's over the room, and those of both ends.
    error = math.hypot(spread, (1 - share) * start[1], share * best[1]) / abs(room)
    yield _row("attainable_share", share, error, n, "higher")
    yield _row("tilt_gap_nats", best[0] - objective, math.hypot(spread, best[1]), n, "lower")
    gain = value - start[0]
    if gain > 0:
        error = math.hypot(kl[1] / gain, kl[0] / gain**2 * math.hypot(spread, start[1]))
        yield _row("nats_per_reward", kl[0] / gain, error, n, "lower")


def _row(metric: str, value: float, error: float, n: int, better: str) -> dict[str, Any]:
    low, high = value - 1.96 * error, value + 1.96 * error
    return {"metric": metric, "value": value, "low": low, "high": high, "n": n, "better": better, "notes": []}
