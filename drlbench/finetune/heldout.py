"""Watch what is not optimised: held-out measures during training, and the update at which they turned.

A reward that still rises while held-out rewards or distances get worse is being exploited. The marker says where;
it does not stop the run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from drlbench.backbones.base import VelocityModel
from drlbench.errors import UserError
from drlbench.finetune.base import Algorithm

Measure = Callable[[VelocityModel], tuple[float, float]]
"""The finished policy so far -> value and its standard error."""


def measure_every(
    algorithm: Algorithm, every: int, measures: Mapping[str, Measure]
) -> Callable[[dict[str, Any]], None]:
    """An `on_step` for `train` that adds `held_out/<name>` and `held_out/<name>/error` to every n-th row.

    Raises:
        UserError: `every` is not positive.
    """
    if every < 1:
        raise UserError(f"held-out measures: every must be at least 1 update, got {every}")

    def on_step(row: dict[str, Any]) -> None:
        if row["update"] % every:
            return
        policy = algorithm.finished_policy()
        for name, measure in measures.items():
            value, error = measure(policy)
            row[f"held_out/{name}"], row[f"held_out/{name}/error"] = value, error

    return on_step


def stop_marker(
    rows: Sequence[Mapping[str, Any]], name: str, better: Literal["higher", "lower"], patience: int = 2
) -> int | None:
    """The update with the best held-out value, if the measure has turned since; none while it has not.

    It has turned when the last `patience` measurements are all worse than the best one by more than twice the
    standard error of the difference.
    """
    sign = 1.0 if better == "higher" else -1.0
    key = f"held_out/{name}"
    found = [(row["update"], sign * row[key], row[f"{key}/error"]) for row in rows if key in row]
    if len(found) <= patience:
        return None
    update, best, error = max(found, key=lambda point: point[1])
    recent = found[-patience:]
    if all(u > update and best - value > 2 * math.hypot(error, e) for u, value, e in recent):
        return int(update)
    return None
