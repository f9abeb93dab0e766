"""What became of the files of a data set: seen, used, skipped and why, and what was chosen on the user's behalf."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Account:
    """Counts that a reader fills in, to be said once and recorded.

    Attributes:
        where: what messages call the data.
        seen: files, rows or archive members that were met.
        used: images among them.
        skipped: reason -> how many.
        examples: reason, or kind of odd picture -> the first one's name.
        notes: what was matched or chosen, a sentence each.
        odd: kind of picture that the decoding policy changes or bends -> how many were decoded so far.
        looked: how many pictures were decoded, where not all are meant to be; else 0.
    """

    where: str
    seen: int = 0
    used: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    odd: Counter[str] = field(default_factory=Counter)
    looked: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)
    _marked: set[tuple[str, str]] = field(default_factory=set, repr=False, compare=False)

    def use(self, count: int = 1) -> None:
        """Count images that are used."""
        self.seen += count
        self.used += count

    def skip(self, reason: str, name: str, count: int = 1) -> None:
        """Count what is left out, and why."""
        self.seen += count
        self.skipped[reason] += count
        self.examples.setdefault(reason, name)

    def note(self, text: str) -> None:
        """Remember a sentence, once."""
        if text not in self.notes:
            self.notes.append(text)

    def mark(self, kind: str, name: str) -> None:
        """Count a picture that the decoding policy treats in a way worth saying; decoding it again does not count."""
        with self._lock:
            if (kind, name) not in self._marked:
                self._marked.add((kind, name))
                self.odd[kind] += 1
                self.examples.setdefault(kind, name)

    def lines(self) -> list[str]:
        """Sentences to say once: how many were seen and used, what was skipped, and everything that was chosen."""
        reasons = "; ".join(f"{n} {reason} ({self.examples[reason]})" for reason, n in self.skipped.items())
        counts = f"{self.where}: {self.seen} seen, {self.used} used{', skipped: ' if reasons else ''}{reasons}"
        return [counts, *(f"{self.where}: {text}" for text in self.notes)]

    def remarks(self) -> list[str]:
        """Those of `lines` and `warnings` that are worth interrupting for: nothing where all is as it seems."""
        return (self.lines() if self.skipped else self.lines()[1:]) + self.warnings()

    def warnings(self) -> list[str]:
        """Sentences about pictures that the decoding policy changed or bent, with their counts."""
        of = f"{self.looked} looked at" if 0 < self.looked < self.used else str(self.used)
        return [
            f"{self.where}: {n} of {of} images {kind} ({self.examples[kind]})" for kind, n in sorted(self.odd.items())
        ]

    def document(self) -> dict[str, Any]:
        """Everything as plain JSON."""
        return {
            "where": self.where,
            "seen": self.seen,
            "used": self.used,
            "skipped": dict(self.skipped),
            "notes": list(self.notes),
            "odd": dict(self.odd),
            "looked_at": self.looked or self.used,
        }
