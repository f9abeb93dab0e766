"""How many evaluations of the network a sampler takes."""

from __future__ import annotations

from drlbench.flow.evaluations import ADAPTIVE, of_method
from drlbench.registry import BACKBONES

__all__ = ["ADAPTIVE", "STEPS", "evaluations"]

STEPS = 50


def evaluations(sampler: str, steps: int | None, family: str = "") -> int:
    """Evaluations of one label for one sample, without guidance.

    Args:
        sampler: as of `drlbench.sampling.generate.sample_latents`.
        steps: None takes 50, or the backbone's own number.
        family: the registered backbone whose procedure "official" stands for.
    """
    name, _, method = sampler.partition(":")
    if name == "official" and family in BACKBONES.names():
        procedure = BACKBONES.get(family).official
        if procedure is not None:
            return procedure.evaluations(procedure.named(method), procedure.usual[1] if steps is None else steps)
    return of_method(name, STEPS if steps is None else steps)
