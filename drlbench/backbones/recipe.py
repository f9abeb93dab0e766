"""The paper's settings of each family (its training-recipe table), by kind of algorithm.

JiT's velocity is clamped beyond t = 0.95 (its division by max(1 - t, 0.05)): algorithms that regress on noised
endpoints stop there, and flow matching draws times as JiT's own training does, t = sigmoid(0.8 n - 0.8). The paper does
not say whether its own runs did anything about the clamp; adjoint matching needs nothing, because its target comes from
the clamped network.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Recipe = Mapping[str, Mapping[str, Any]]

_SIT: dict[str, Any] = {
    "batch": 576, "buffer": 2304, "passes": 5, "learning_rate": 1e-5, "warmup": 200, "steps": 100,
    "integrator": "local-linear", "timestep_fraction": 0.4, "timestep_split": 0.6, "loss_over_timesteps": "sum",
    "gradient_clip": None, "outlier_quantile": 0.9, "outlier_memory": 0.9, "outlier_spike_cap": 5.0,
}  # fmt: skip
_TIMES = {"time": "logit-normal", "time_mean": -0.8, "time_std": 0.8}
SIT: Recipe = {"adjoint-matching": _SIT}
REPA: Recipe = {"adjoint-matching": _SIT}
JIT: Recipe = {
    "adjoint-matching": _SIT | {"buffer": 3072},
    **{kind: {"t_max": 0.95} for kind in ("ram", "awm", "nft", "rwm")},
    **{kind: _TIMES for kind in ("sft", "ddo")},
}
RAE: Recipe = {
    "adjoint-matching": _SIT
    | {
        "buffer": 3072, "learning_rate": 5e-5, "loss_over_timesteps": "mean", "gradient_clip": 1.0,
        "outlier_quantile": 0.75, "outlier_memory": 0.995,
    }
}  # fmt: skip
