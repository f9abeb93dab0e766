"""Which timesteps a gradient step of adjoint matching looks at."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def timestep_subset(steps: int, fraction: float, split: float, generator: torch.Generator) -> Tensor:
    """A fresh subset of ceil(fraction K) of k = 0 .. K-1, half from k/K < split and half from the rest.

    An odd count gives the extra one to the late half. A half with too few timesteps gives all it has and the
    other half makes up the difference.

    Returns:
        Sorted indices (m,) int64.
    """
    count = min(steps, math.ceil(fraction * steps - 1e-9))
    early = min(steps, math.ceil(split * steps - 1e-9))  # indices with k/K < split
    late = steps - early
    from_early = min(early, count // 2)
    from_late = min(late, count - from_early)
    from_early = count - from_late
    first = torch.randperm(early, generator=generator)[:from_early]
    second = torch.randperm(late, generator=generator)[:from_late] + early
    return torch.cat([first, second]).sort().values
