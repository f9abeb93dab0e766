"""How often a fine-tuning algorithm runs its network and its reward, per endpoint and row, by arithmetic.

Counted in forwards of one sample: a forward with the product for its input is two, one with a backward to the weights
three. `tests/cost/test_passes.py` holds each against the operations that the algorithm executes.

Shapes: K sampler steps, B batch, T times or transitions of an endpoint that are trained.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from drlbench.cost.arithmetic import TRAINED, VJP
from drlbench.sampling.counts import evaluations


@dataclass(frozen=True)
class Passes:
    """One fine-tune.

    Attributes:
        network: forwards of one sample through the network, or their equivalent.
        reward: the same through decoder and reward.
        calls: the network's calls one after another, forwards and backwards: what they take at least does not depend on
            how many samples are in each.
    """

    network: float
    reward: float
    calls: float


def passes(algorithm: str, settings: Mapping[str, Any], updates: int) -> Passes | None:
    """Passes of so many updates; None for an algorithm that is not known here.

    Args:
        settings: of the algorithm, in full.
    """
    if algorithm == "adjoint-matching":
        return _adjoint_matching(settings, updates)
    if algorithm == "sft":
        return Passes(updates * settings["batch"] * TRAINED, 0.0, TRAINED * updates)
    if algorithm == "draft":
        return _draft(settings, updates)
    if algorithm in ("ram", "awm", "nft", "rwm", "flow-grpo"):
        return _endpoints(algorithm, settings, updates)
    return None


def _adjoint_matching(s: Mapping[str, Any], updates: int) -> Passes:
    """K forwards and, under the reference, K products and a forward; then `passes` over chosen timesteps."""
    per_buffer = round(s["passes"] * s["buffer"] / s["batch"])
    buffers, chosen = math.ceil(updates / per_buffer), math.ceil(s["timestep_fraction"] * s["steps"] - 1e-9)
    simulated = s["steps"] * (1 + VJP) + 1
    drawn = buffers * s["buffer"]
    trained = updates * s["batch"] * chosen * TRAINED
    return Passes(drawn * simulated + trained, VJP * drawn, buffers * simulated + updates * TRAINED)


def _draft(s: Mapping[str, Any], updates: int) -> Passes:
    """Forwards down to the last `truncate` steps, which are trained through the reward."""
    trained = min(s["truncate"], s["sampler_steps"])
    each = s["sampler_steps"] + (TRAINED - 1) * trained
    return Passes(updates * s["batch"] * each, updates * s["batch"] * VJP, updates * each)


def _endpoints(algorithm: str, s: Mapping[str, Any], updates: int) -> Passes:
    """Scored endpoints of a sampler, of which each update trains noised rows or transitions beside frozen copies."""
    per_draw = round(s["passes"] * s["endpoints"] / s["batch"])
    draws, k = math.ceil(updates / per_draw), s["sampler_steps"]
    sampled, rows, frozen = evaluations(s["sampler"], k), s["times"], 0
    if algorithm == "flow-grpo":
        published = s["variant"] == "published"
        rows = max(1, int(s["timestep_fraction"] * k)) if published else k - 1
        sampled = k + rows  # and the reference's velocity wherever it is trained
    elif algorithm == "ram":
        frozen = 1
    elif algorithm == "awm":
        frozen = (per_draw > 1) + (s["kl_weight"] > 0) + (s["anchor_weight"] > 0)
    elif algorithm == "nft":
        rows = max(1, sum(i / k <= s["t_max"] for i in range(max(1, k - 1))))  # the rollout's own times, unshifted
        frozen = 1 + (s["kl_weight"] > 0)
    drawn = draws * s["endpoints"]
    each = TRAINED + frozen
    return Passes(drawn * sampled + updates * s["batch"] * rows * each, drawn, draws * sampled + updates * each)
