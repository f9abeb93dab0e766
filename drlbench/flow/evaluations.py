"""How many evaluations of the velocity a method takes."""

from __future__ import annotations

ADAPTIVE = 100  # an adaptive solver's number depends on the weights; this is a round guess for a plan
PER_STEP = {"euler": 1, "midpoint": 2, "heun2": 2, "heun3": 3, "rk4": 4}


def of_method(method: str, intervals: int) -> int:
    """Evaluations on a grid of that many intervals; "heun" (and "paper", which is Heun) ends with an Euler step."""
    if method in ("heun", "paper"):
        return 2 * intervals - 1
    return PER_STEP[method] * intervals if method in PER_STEP else ADAPTIVE
