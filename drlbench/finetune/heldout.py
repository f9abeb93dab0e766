"""Watch what is not optimised: held-out measures during training, and the update at which they turned.

A reward that still rises while held-out rewards or distances get worse is being exploited. The marker says where;
it does not stop the run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from drlbench.backbones.base import VelocityModel
from drlbench.errors import UserError
from drlbench.finetune.base import Algorithm

Better = Literal["higher", "lower"]
Measure = Callable[[VelocityModel], Mapping[str, tuple[float, float]]]
"""The finished policy so far -> name of each held-out measure -> its value and standard error."""

PREFIX = "held_out/"


def measure_every(algorithm: Algorithm, every: int, measure: Measure) -> Callable[[dict[str, Any]], None]:
    """An `on_step` for `train` that adds `held_out/<name>` and `held_out/<name>/error` to every n-th row.

    Raises:
        UserError: `every` is not positive.
    """
    if every < 1:
        raise UserError(f"held-out measures: every must be at least 1 update, got {every}")

    def on_step(row: dict[str, Any]) -> None:
        if row["update"] % every == 0:
            for name, (value, error) in measure(algorithm.finished_policy()).items():
                row[f"{PREFIX}{name}"], row[f"{PREFIX}{name}/error"] = value, error

    return on_step


@dataclass(frozen=True)
class Turn:
    """Where one held-out measure was best, before it got worse by more than its noise."""

    name: str
    update: int
    best: float
    last: float

    def __str__(self) -> str:
        return f"held-out {self.name}: best {self.best:.4g} at update {self.update}, {self.last:.4g} at the end"


def turn(rows: Sequence[Mapping[str, Any]], name: str, better: Better, patience: int = 2) -> Turn | None:
    """The best held-out value, if the measure has turned since; none while it has not.

    It has turned when the last `patience` measurements are all worse than the best one by more than twice the
    standard error of the difference.
    """
    sign = 1.0 if better == "higher" else -1.0
    key = f"{PREFIX}{name}"
    found = [(row["update"], sign * row[key], row[f"{key}/error"]) for row in rows if key in row]
    if len(found) <= patience:
        return None
    update, best, error = max(found, key=lambda point: point[1])
    recent = found[-patience:]
    if all(u > update and best - value > 2 * math.hypot(error, e) for u, value, e in recent):
        return Turn(name, int(update), sign * best, sign * recent[-1][1])
    return None


def turns(rows: Sequence[Mapping[str, Any]], better: Mapping[str, Better]) -> list[Turn]:
    """Every held-out measure that has turned, the earliest first."""
    found = (turn(rows, name, direction) for name, direction in better.items())
    return sorted((t for t in found if t is not None), key=lambda t: t.update)
