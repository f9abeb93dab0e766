"""How often the 95 % intervals of precision, recall, density, coverage, FD and KD hold the mean over generated sets.

`python tests/metrics/interval_coverage.py [SETS]` prints the table of docs/precision.md (400 sets: two minutes).
The reference is held fixed, as everywhere in a run; every set is 500 fresh samples.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np

from drlbench.metrics import density_coverage, frechet_distance, kernel_distance, precision_recall, resample_counts

Draw = Callable[[np.random.Generator, int], np.ndarray]
CENTRES = np.random.default_rng(5).normal(size=(10, 6)) * 2
LAWS: dict[str, tuple[Draw, Draw]] = {
    "gaussian, narrower and shifted": (
        lambda r, n: r.normal(size=(n, 8)),
        lambda r, n: 0.8 * r.normal(size=(n, 8)) + 0.3,
    ),
    "ten modes, two missing": (
        lambda r, n: CENTRES[r.integers(10, size=n)] + 0.6 * r.normal(size=(n, 6)),
        lambda r, n: CENTRES[r.integers(8, size=n)] + 0.5 * r.normal(size=(n, 6)),
    ),
    "heavy tails missing": (lambda r, n: r.standard_t(5, size=(n, 5)), lambda r, n: r.normal(size=(n, 5))),
}


def held(law: str, sets: int) -> dict[str, float]:
    """Metric -> share of the sets whose interval holds the metric's mean over all sets."""
    real, fake = LAWS[law]
    reference, counts = real(np.random.default_rng(1), 400), resample_counts(500, 200)
    found: dict[str, list[tuple[float, float, float]]] = {}
    for number in range(sets):
        x = fake(np.random.default_rng(1000 + number), 500)
        measured = [*precision_recall(x, reference, counts=counts)]
        measured += density_coverage(x, reference, counts=counts)
        measured.append(frechet_distance(x, reference, counts=counts))
        measured.append(kernel_distance(x, reference, counts=counts))
        for m in measured:
            found.setdefault(m.metric, []).append((m.value, m.low, m.high))
    shares = {}
    for metric, rows in found.items():
        value, low, high = np.array(rows).T
        shares[metric] = float(np.mean((low <= value.mean()) & (value.mean() <= high)))
    return shares


if __name__ == "__main__":
    for law in LAWS:
        print(
            f"{law}: "
            + ", ".join(f"{m} {share:.3f}" for m, share in held(law, int((sys.argv[1:] or [400])[0])).items())
        )
