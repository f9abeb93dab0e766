"""Guidance as a wrapper of the velocity, in the one convention and on every channel.

The backbones' own guidance, with its quirks, is in `drlbench.sampling.official`.

Shapes: B batch, C channels, H and W height and width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from drlbench.backbones.base import VelocityModel
from drlbench.errors import UserError
from drlbench.flow.path import Velocity

EDGE = 1e-6  # a float32 time this close to an end of the interval belongs to it


@dataclass(frozen=True)
class ClassifierFree:
    """v_null + scale (v_y - v_null) for t in [low, high], v_y outside (arXiv 2207.12598; interval: arXiv 2404.07724).

    Attributes:
        scale: 1 is no guidance, and then the unlabelled velocity is not evaluated.
        low, high: times with t = 0 noise and t = 1 data; both ends belong to the interval.
    """

    scale: float = 1.0
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.high <= 1:
            raise UserError(f"guidance interval [{self.low}, {self.high}] does not lie in [0, 1]")

    def velocity(self, model: VelocityModel) -> Velocity:
        """The guided velocity of a model; one doubled batch per evaluation."""
        if self.scale == 1:
            return model.velocity

        def guided(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
            inside = (t >= self.low - EDGE) & (t <= self.high + EDGE)
            if not bool(inside.any()):
                return model.velocity(x, t, y)
            null = torch.full_like(y, model.null_class)
            both = model.velocity(torch.cat([x, x]), torch.cat([t, t]), torch.cat([y, null]))
            labelled, unlabelled = both.chunk(2)
            mixed = unlabelled + self.scale * (labelled - unlabelled)
            return torch.where(inside[:, None, None, None], mixed, labelled)

        return guided


@dataclass(frozen=True)
class Autoguidance:
    """v_base + weight (v_model - v_base): away from a weaker model (arXiv 2406.02507), here the base before RL."""

    base: VelocityModel
    weight: float

    def velocity(self, model: VelocityModel) -> Velocity:
        """The guided velocity of a model; weight 1 is the model itself."""

        def guided(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
            weak = self.base.velocity(x, t, y)
            return weak + self.weight * (model.velocity(x, t, y) - weak)

        return guided


Guidance = ClassifierFree | Autoguidance
