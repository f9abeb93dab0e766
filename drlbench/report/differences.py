"""What two runs were made with, where it differs: the first thing to know about numbers that differ."""

from __future__ import annotations

from dataclasses import dataclass

from drlbench.report.record import RunRecord


@dataclass(frozen=True)
class Difference:
    """One thing the two runs do not share, as text on both sides."""

    what: str
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.what} {self.old} → {self.new}"


def differences(old: RunRecord, new: RunRecord) -> list[Difference]:
    """Commit, versions, hardware, suite and the content of encoders and rewards, where both sides say them."""
    pairs: list[tuple[str, object, object]] = [("commit", _commit(old), _commit(new))]
    pairs += [(k, old.versions[k], new.versions[k]) for k in old.versions if k in new.versions]
    pairs += [(k, old.hardware[k], new.hardware[k]) for k in old.hardware if k in new.hardware]
    pairs += [("suite", old.suite_sha256[:8], new.suite_sha256[:8])]
    pairs += [("overrides", " ".join(old.overrides) or "none", " ".join(new.overrides) or "none")]
    pairs += [("resamples", old.resamples, new.resamples)]
    contents = ((old.spaces, new.spaces, "encoder"), (old.rewards, new.rewards, "reward"))
    for before, after, word in contents:
        known = {s.name: s.signature for s in before}
        pairs += [(f"{word} {s.name}", known[s.name], s.signature) for s in after if s.name in known]
    return [
        Difference(k, str(a), str(b)) for k, a, b in pairs if a != b and a not in (None, "") and b not in (None, "")
    ]


def _commit(record: RunRecord) -> str:
    return (record.git.commit or "")[:9] + ("+changes" if record.git.dirty else "")


def in_a_line(found: list[Difference]) -> str:
    """The differences in one line: encoders and rewards by name alone, their signatures are long."""
    plain = [str(d) for d in found if not d.what.startswith(("encoder ", "reward "))]
    fitted = [d.what for d in found if d.what.startswith(("encoder ", "reward "))]
    return (
        "; ".join([*plain, *([f"other content: {', '.join(fitted)}"] if fitted else [])]) or "nothing that was recorded"
    )
