"""The paper's settings per backbone (its training-recipe table); a suite writes only what it changes.

JiT's velocity is clamped beyond t = 0.95 (its division by max(1 - t, 0.05)): algorithms that regress on
noised endpoints stop there, and flow matching uses the clamped target. The paper does not say whether its own
runs did anything about it; adjoint matching needs nothing, because its target comes from the clamped network.
"""

from __future__ import annotations

from typing import Any

from drlbench.errors import UserError, did_you_mean

ADJOINT_MATCHING: dict[str, dict[str, Any]] = {
    "sit": {
        "batch": 576, "buffer": 2304, "passes": 5, "learning_rate": 1e-5, "warmup": 200, "steps": 100,
        "integrator": "local-linear", "timestep_fraction": 0.4, "timestep_split": 0.6, "loss_over_timesteps": "sum",
        "gradient_clip": None, "outlier_quantile": 0.9, "outlier_memory": 0.9, "outlier_spike_cap": 5.0,
    },
}  # fmt: skip
ADJOINT_MATCHING["repa"] = dict(ADJOINT_MATCHING["sit"])
ADJOINT_MATCHING["jit"] = ADJOINT_MATCHING["sit"] | {"buffer": 3072}
ADJOINT_MATCHING["rae"] = ADJOINT_MATCHING["sit"] | {
    "buffer": 3072, "learning_rate": 5e-5, "loss_over_timesteps": "mean", "gradient_clip": 1.0,
    "outlier_quantile": 0.75, "outlier_memory": 0.995,
}  # fmt: skip

UPDATES = {"drl": 3000, "preference": 5000}
"""Updates of a discriminator run and of a preference run."""

_CLAMPED: dict[str, dict[str, Any]] = {name: {"t_max": 0.95} for name in ("ram", "awm", "nft", "rwm")}


def preset(algorithm: str, backbone: str) -> dict[str, Any]:
    """Settings of an algorithm for a backbone, ready for its constructor or for a suite's overrides.

    Raises:
        UserError: no such backbone in the paper.
    """
    if backbone not in ADJOINT_MATCHING:
        raise UserError(
            f"no preset for backbone '{backbone}'{did_you_mean(backbone, ADJOINT_MATCHING)}; "
            f"there are {', '.join(ADJOINT_MATCHING)}"
        )
    if algorithm == "adjoint-matching":
        return dict(ADJOINT_MATCHING[backbone])
    shared = {name: ADJOINT_MATCHING[backbone][name] for name in ("batch", "learning_rate", "warmup", "gradient_clip")}
    if backbone == "jit":
        # JiT's own training schedule of times: t = sigmoid(0.8 n - 0.8).
        own = {"time": "logit-normal", "time_mean": -0.8, "time_std": 0.8}
        shared |= own if algorithm in ("sft", "ddo") else _CLAMPED.get(algorithm, {})
    return shared
