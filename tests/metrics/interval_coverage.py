"""How often the 95 % intervals of the metrics hold the mean over generated sets, over eight laws.

`python tests/metrics/interval_coverage.py [SETS [LAW ...]]` prints the rows of docs/precision.md (200 sets of all laws:
about ten minutes of one core). The reference is held fixed, as everywhere in a run; every set is of fresh samples. The
first three laws are those that the intervals were chosen on. FD∞ is held against the law's own distance, too.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from drlbench.metrics import density_coverage, frechet_distance, kernel_distance, precision_recall, resample_counts
from drlbench.metrics.fd_infinity import frechet_infinity
from drlbench.metrics.mind import mind

Draw = Callable[[np.random.Generator, int], np.ndarray]
CENTRES = np.random.default_rng(5).normal(size=(10, 6)) * 2
UNEQUAL = np.array([0.3, 0.2, 0.15, 0.1, 0.08, 0.06, 0.05, 0.03, 0.02, 0.01])
TRUTH = 400_000  # samples that stand for a law itself


@dataclass(frozen=True)
class Law:
    """Real and generated samples, and how many of each: m real, n generated."""

    real: Draw
    fake: Draw
    m: int = 400
    n: int = 500


LAWS = {
    "narrower and shifted Gaussian, D = 8": Law(
        lambda r, n: r.normal(size=(n, 8)), lambda r, n: 0.8 * r.normal(size=(n, 8)) + 0.3
    ),
    "ten modes, two missing, D = 6": Law(
        lambda r, n: CENTRES[r.integers(10, size=n)] + 0.6 * r.normal(size=(n, 6)),
        lambda r, n: CENTRES[r.integers(8, size=n)] + 0.5 * r.normal(size=(n, 6)),
    ),
    "heavy tails missing, D = 5": Law(lambda r, n: r.standard_t(5, size=(n, 5)), lambda r, n: r.normal(size=(n, 5))),
    "heavier tails, t(8), D = 5": Law(lambda r, n: r.normal(size=(n, 5)), lambda r, n: r.standard_t(8, size=(n, 5))),
    "unequal classes, 30 to 1 %, D = 6": Law(
        lambda r, n: CENTRES[r.integers(10, size=n)] + 0.6 * r.normal(size=(n, 6)),
        lambda r, n: CENTRES[r.choice(10, size=n, p=UNEQUAL)] + 0.55 * r.normal(size=(n, 6)),
        m=300,
        n=400,
    ),
    "n = 1,000, D = 12": Law(
        lambda r, n: r.normal(size=(n, 12)), lambda r, n: 0.9 * r.normal(size=(n, 12)) + 0.15, m=500, n=1000
    ),
    "n = 150, skewed, D = 4": Law(
        lambda r, n: r.normal(size=(n, 4)), lambda r, n: r.exponential(size=(n, 4)) - 1.0, m=300, n=150
    ),
    "no fourth moment, t(3), D = 5": Law(lambda r, n: r.normal(size=(n, 5)), lambda r, n: r.standard_t(3, size=(n, 5))),
}


def held(law: Law, sets: int) -> dict[str, float]:
    """Metric -> share of the sets whose interval holds the metric's mean over all sets."""
    reference, counts = law.real(np.random.default_rng(1), law.m), resample_counts(law.n, 200)
    truth = frechet_distance(law.fake(np.random.default_rng(2), TRUTH), reference, resamples=0).value
    found: dict[str, list[tuple[float, float, float]]] = {}
    for number in range(sets):
        x = law.fake(np.random.default_rng(1000 + number), law.n)
        measured = [*precision_recall(x, reference, counts=counts)]
        measured += density_coverage(x, reference, counts=counts)
        measured.append(frechet_distance(x, reference, counts=counts))
        measured.append(frechet_infinity(x, reference, counts=counts))
        measured.append(kernel_distance(x, reference, counts=counts))
        measured.append(mind(x, reference, directions=100, counts=counts))
        for m in measured:
            found.setdefault(m.metric, []).append((m.value, m.low, m.high))
    shares = {}
    for metric, rows in found.items():
        value, low, high = np.array(rows).T
        shares[metric] = float(np.mean((low <= value.mean()) & (value.mean() <= high)))
        if metric == "fd_infinity":
            shares["fd_infinity, truth"] = float(np.mean((low <= truth) & (truth <= high)))
    return shares


if __name__ == "__main__":
    arguments = sys.argv[1:] or ["200"]
    for name in arguments[1:] or LAWS:
        began = time.process_time()
        shares = held(LAWS[name], int(arguments[0]))
        print(f"| {name} | {' | '.join(f'{share:.3f}' for share in shares.values())} |", flush=True)
        print(f"{', '.join(shares)}: {time.process_time() - began:.0f} s", file=sys.stderr)
