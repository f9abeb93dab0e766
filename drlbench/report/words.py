"""Numbers in words: how the report rounds, names things and writes an estimate with its intervals."""

from __future__ import annotations

import math

from drlbench.frontier.uncertainty import Estimate

METRIC_NAMES = {
    "fd": "FD",
    "fd_val": "FD (validation)",
    "kd_x1000": "KD x1000",
    "kl_nats": "KL (nats)",
    "nats_per_reward": "nats per reward",
    "attainable_share": "share attained",
    "tilt_gap_nats": "to the optimum (nats)",
    "velocity_norm_ratio": "velocity-norm ratio",
    "class_coverage": "class coverage",
    "worst_class_coverage": "worst class coverage",
}


def metric_name(metric: str) -> str:
    """A metric as a reader says it."""
    return METRIC_NAMES.get(metric, metric.replace("_", " "))


def digits(value: float | None, significant: int = 3) -> str:
    """A number to `significant` digits without an exponent where it stays short; a dash for an unknown one."""
    if value is None or not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(value)))
    if not -5 < size < 6:
        return f"{value:.{significant - 1}e}"
    text = f"{value:.{max(0, significant - 1 - size)}f}"
    return text.replace("-", "−")


def interval(low: float, high: float, significant: int = 3) -> str:
    """`2.6 to 3.2`, or an empty string when it is unknown."""
    known = math.isfinite(low) and math.isfinite(high)
    return f"{digits(low, significant)} to {digits(high, significant)}" if known else ""


def seeds(n: int) -> str:
    """`1 seed`, `3 seeds`."""
    return f"{n} seed" if n == 1 else f"{n} seeds"


def with_intervals(e: Estimate, significant: int = 3) -> str:
    """`(95 % 2.6 to 3.2; over seeds 1.9 to 4.4; 2 seeds)`: sampling interval first, then the one over seeds."""
    parts = []
    if text := interval(e.low, e.high, significant):
        parts.append(f"{'sampling only, ' if e.n_seeds == 1 else ''}95 % {text}")
    if text := interval(e.seed_low, e.seed_high, significant):
        parts.append(f"over seeds {text}")
    return f"({'; '.join([*parts, seeds(e.n_seeds)])})"


def lambda_text(lambda_: float | None) -> str:
    """`lambda 1`, or an empty string without one."""
    return "" if lambda_ is None else f"lambda {lambda_:g}"


def family(run: str, lambda_: float | None) -> str:
    """`drl (lambda 1)`."""
    return run if lambda_ is None else f"{run} ({lambda_text(lambda_)})"


def times(ratio: float) -> str:
    """`2.27x`."""
    return f"{ratio:.2f}x" if ratio < 10 else f"{digits(ratio)}x"


def percent(share: float) -> str:
    """A probability for readers; never `100 %` for what was merely never seen to fail."""
    if not math.isfinite(share):
        return "–"
    if share >= 0.99:
        return "over 99 %"
    return "under 1 %" if share < 0.01 else f"{100 * share:.0f} %"
