"""A part of a labelled set, for what is too dear on all of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SEED = 0  # one part for everybody, so that numbers taken to it compare


def evenly(labels: NDArray[np.int64], count: int | None) -> NDArray[np.int64]:
    """Rows, in order, of `count` of the labels (n,), classes as equally often as they allow; all for None.

    A smaller count's rows are among a larger one's.
    """
    if count is None or count >= len(labels):
        return np.arange(len(labels))
    order = np.random.default_rng(SEED).permutation(len(labels))
    rank = np.empty(len(labels), dtype=np.int64)  # of each label among its class, in that order
    for c in np.unique(labels):
        own = order[labels[order] == c]
        rank[own] = np.arange(len(own))
    place = np.empty(len(labels), dtype=np.int64)
    place[order] = np.arange(len(labels))
    return np.sort(np.lexsort((place, rank))[:count])
