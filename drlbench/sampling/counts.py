"""How many evaluations of the network a sampler takes. Nothing here imports torch, so that planning stays fast."""

from __future__ import annotations

# Method and number of steps of the authors' own evaluation; `num_steps` counts as they count.
DEFAULTS = {"sit": ("dopri5", 250), "jit": ("heun", 50), "repa": ("sde", 250), "rae": ("euler", 50)}
STEPS = 50
ADAPTIVE = 100  # an adaptive solver's number depends on the weights; this is a round guess for a plan


def evaluations(sampler: str, steps: int | None, family: str = "") -> int:
    """Evaluations of one label for one sample, without guidance.

    Args:
        sampler: as of `drlbench.sampling.generate.sample_latents`.
        steps: None takes 50, or the backbone's own number.
        family: "sit", "jit", "repa" or "rae", whose procedure "official" stands for.
    """
    name, _, method = sampler.partition(":")
    if name == "official" and family in DEFAULTS:
        own, usual = DEFAULTS[family]
        method, steps = (method or own).lower().removeprefix("ode_"), usual if steps is None else steps
        # SiT and RAE count grid points; SiT's and REPA's SDEs have one last step more than noisy ones.
        intervals = steps - 1 if family in ("sit", "rae") and not method.startswith("sde") else steps
    else:
        method, intervals = name, STEPS if steps is None else steps
    if method in ("heun", "paper", "sde_heun") or method.startswith("sde_heun_"):
        return 2 * intervals - 1
    if method.startswith("sde") or method == "euler":
        return intervals
    per_step = {"midpoint": 2, "heun2": 2, "heun3": 3, "rk4": 4}
    return per_step[method] * intervals if method in per_step else ADAPTIVE
