"""A counted velocity model, and the work of running it, or another counted network, on rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from drlbench.cost.counting import Count
from drlbench.cost.network import Passes
from drlbench.cost.work import SMALL, Rate, Work
from drlbench.finetune.evaluations import Rows, rows
from drlbench.sampling.counts import evaluations

FLOAT32 = 4

Sort = Literal["forward", "product", "trained"]


def of_count(count: Count, times: float = 1.0, rate: Rate = SMALL, calls: float | None = None) -> Work:
    """A count so many times: in as many calls, unless `calls` says fewer."""
    started = times if calls is None else calls
    return Work({rate: times * count.flops}, started * count.kernels, times * count.draws)


@dataclass(frozen=True)
class Network:
    """A counted network that is run on rows.

    Attributes:
        rate: whose operations they are.
    """

    passes: Passes
    rate: Rate = SMALL

    def run(self, wanted: Rows, sort: Sort = "forward") -> Work:
        """So many rows."""
        found: Count = getattr(self.passes, sort)
        return of_count(found, wanted.rows, self.rate, wanted.calls)

    @property
    def width(self) -> int:
        """Numbers that come out of one row."""
        return math.prod(self.passes.shape)

    @property
    def bytes(self) -> float:
        """Of its weights in float32."""
        return float(FLOAT32 * self.passes.values)


@dataclass(frozen=True)
class Model:
    """A velocity model: its network and its decoder."""

    velocity: Network
    decoder: Network
    family: str

    @property
    def latent(self) -> int:
        """Numbers in one latent."""
        return self.velocity.width

    def sampled(self, n: int, sampling: Mapping[str, Any], batch: int, decode: bool = True) -> Work:
        """Samples under `sampler`, `steps` and, where given, the guidance `cfg` for times from `low` to `high`."""
        calls = evaluations(sampling["sampler"], sampling["steps"], self.family)
        guided = 1.0 if sampling.get("cfg", 1) == 1 else 1 + sampling["high"] - sampling["low"]
        once = rows(n, batch)
        made = self.velocity.run(Rows(calls * guided * once.rows, calls * once.calls)) + Work(draws=n * self.latent)
        return made + self.decoder.run(once) if decode else made
