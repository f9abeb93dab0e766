"""How long the rest of a run will take: what was expected of its stages, scaled by what those that ended took."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping

TRUST = 30.0  # seconds: so much work as expected is put beside what was seen, which may be one stage's slow import


class Remaining:
    """Seconds of work left, in time that does not grow with the number of stages.

    Stages are scaled by what those of their kind took over what was expected, else by what all have taken, else not;
    what a running stage has done so far counts with them.

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
        self._done: dict[str, tuple[float, float]] = {}
        self._took: dict[str, tuple[float, float]] = {}  # kind -> seconds, and what was expected

    def progress(self, key: str, fraction: float, seconds: float) -> None:
        """A running stage has come so far, in [0, 1], in `seconds`; word that comes after its end says nothing."""
        if key in self._open:
            self._done[key] = fraction, seconds

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
        seen = dict(self._took)
        for key, (fraction, seconds) in self._done.items():
            kind, part = self._kinds[key], fraction * self._expected[key]
            begun[kind] += part
            took, thought = seen.get(kind, (0.0, 0.0))
            seen[kind] = took + seconds, thought + part
        overall = _factor(seen.values())
        return math.fsum(
            max(0.0, left - begun[kind]) * (_factor([seen[kind]]) if kind in seen else overall)
            for kind, left in self._left.items()
        )


def _factor(seen: Iterable[tuple[float, float]]) -> float:
    """What stages took over what was expected of them, both in seconds."""
    took, thought = (math.fsum(column) for column in zip((TRUST, TRUST), *seen, strict=True))
    return took / thought
