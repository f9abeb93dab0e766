"""How long the rest of a run will take: what was expected of its stages, scaled by what those that ended took."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping


class Remaining:
    """Seconds of work left, in time that does not grow with the number of stages.

    Stages are scaled by what those of their kind took over what was expected, else by what all have taken, else not.

    Args:
        kinds: key -> kind of the stages that are to be made.
        expected: key -> seconds; 0 where a stage cannot be counted, which then adds nothing.

    Attributes:
        count: stages that were to be made. uncounted: those of them that are left and cannot be counted.
    """

    def __init__(self, kinds: Mapping[str, str], expected: Mapping[str, float]) -> None:
        self._kinds, self._expected, self._open = kinds, expected, set(kinds)
        self._left: dict[str, float] = defaultdict(float)
        for key, kind in kinds.items():
            self._left[kind] += expected[key]
        self.count = len(kinds)
        self.uncounted = sum(not expected[key] for key in kinds)
        self._done: dict[str, float] = {}
        self._took: dict[str, tuple[float, float]] = {}  # kind -> seconds, and what was expected

    def progress(self, key: str, fraction: float) -> None:
        """A running stage has come so far, in [0, 1]; word that comes after its end is late and says nothing."""
        if key in self._open:
            self._done[key] = fraction

    def end(self, key: str, seconds: float | None) -> None:
        """A stage is over: it was made in `seconds`, or (None) taken from elsewhere, or it failed."""
        if key not in self._open:
            return
        self._open.remove(key)
        kind, expected = self._kinds[key], self._expected[key]
        self._left[kind] = max(0.0, self._left[kind] - expected)
        self._done.pop(key, None)
        self.uncounted -= not expected
        if seconds is not None and expected:
            took, thought = self._took.get(kind, (0.0, 0.0))
            self._took[kind] = took + seconds, thought + expected

    def seconds(self) -> float:
        """Of all stages that have not ended, one after another."""
        begun: dict[str, float] = defaultdict(float)
        for key, fraction in self._done.items():
            begun[self._kinds[key]] += fraction * self._expected[key]
        took, thought = (math.fsum(pair[i] for pair in self._took.values()) for i in (0, 1))
        overall = took / thought if thought else 1.0
        total = 0.0
        for kind, left in self._left.items():
            own = self._took.get(kind)
            total += max(0.0, left - begun[kind]) * (own[0] / own[1] if own else overall)
        return total
