"""What an algorithm declares of its cost: how often it runs its networks and its reward.

Counted in rows, one sample through one network once. How many operations a row of each sort takes is counted from the
network itself (`drlbench.cost`), so that a declaration holds for every backbone, reward, autoencoder and precision.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Rows:
    """So many rows, in so many calls one after another: what they take at least does not depend on the rows in each."""

    rows: float = 0.0
    calls: float = 0.0

    def __add__(self, other: Rows) -> Rows:
        return Rows(self.rows + other.rows, self.calls + other.calls)

    def times(self, count: float) -> Rows:
        """So often in turn."""
        return Rows(count * self.rows, count * self.calls)


NONE = Rows()


def rows(count: float, at_once: int | None = None) -> Rows:
    """One pass over `count` rows, at most `at_once` in a call (none: all)."""
    return Rows(count, math.ceil(count / at_once) if at_once else 1.0)


@dataclass(frozen=True)
class Evaluations:
    """One fine-tune.

    Attributes:
        forwards: without gradient, through the policy or a frozen copy.
        products: a forward and the gradient of its input, weights frozen (vector-Jacobian product).
        trained: a forward and the gradients of the weights.
        reward_forwards, reward_products: images decoded and scored, without and with the gradient of the latent.
        copies: frozen networks beside the policy and the reference.
        held: bytes kept from update to update, for every number of one latent.
    """

    forwards: Rows = NONE
    products: Rows = NONE
    trained: Rows = NONE
    reward_forwards: Rows = NONE
    reward_products: Rows = NONE
    copies: int = 0
    held: float = 0.0
