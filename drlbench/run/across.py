"""Numbers of a cell over all its spaces, from those that each space has."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import numpy as np

from drlbench.metrics.fdr import mean_ratio
from drlbench.metrics.signature import make_signature, read_signature
from drlbench.run.reading import Score

Found = tuple[Score, str, np.ndarray | None]
"""A score, its signature and its replicates."""


def mean_ratios(found: Mapping[str, Found], seen: Collection[str]) -> Iterator[Found]:
    """`fdr_mean` over all spaces and `fdr_mean_held_out` over those that no reward looks through, of two or more.

    Args:
        found: space -> its `fdr`; seen: spaces that a reward looks through.
    """
    held_out = {space: one for space, one in found.items() if space not in seen}
    for metric, part in (("fdr_mean", found), ("fdr_mean_held_out", held_out)):
        if len(part) < 2 or (metric != "fdr_mean" and len(part) == len(found)):
            continue
        ratios = np.array([score.value for score, _, _ in part.values()])
        draws = [kept for _, _, kept in part.values() if kept is not None]
        m = mean_ratio(metric, ratios, min(score.n for score, _, _ in part.values()), draws)
        low, high = (None, None) if m.replicates is None else (m.low, m.high)
        score = Score(metric=metric, value=m.value, low=low, high=high, n=m.n, better=m.better, details=dict(m.details))
        about = [read_signature(mark) for _, mark, _ in part.values()]
        parts = {k: v for k, v in about[0].items() if k not in ("metric", "v")}
        parts["enc"] = "+".join(one.get("enc", "") for one in about)
        yield score, make_signature(metric, parts), m.replicates
