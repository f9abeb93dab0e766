"""Shuffled passes over a drawn set that give the same minibatches on any number of ranks.

Shapes: N items drawn, b of this rank in one minibatch.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from drlbench.errors import UserError
from drlbench.finetune.ranks import world


class Minibatches:
    """`total` items over all ranks in minibatches of `batch`, taken from a stream of shuffled passes.

    When the batch does not divide the set (the paper's 3072 and 576) a minibatch may straddle two passes, and the
    number of minibatches is rounded: the last pass then ends up to half a minibatch early or late.

    Items fall into strata (index modulo up to 8). A minibatch takes equally many of each, and a rank owns
    whole strata: the minibatches are the same sets on any number of ranks.

    Attributes:
        own: indices of the items this rank holds, in the order it holds them.
        updates: minibatches in the life of one drawn set.
    """

    def __init__(self, total: int, batch: int, passes: int, what: str) -> None:
        self.total, self.batch, self.passes = total, batch, passes
        self.strata = math.gcd(batch, 8)
        if total % self.strata or total < batch:
            raise UserError(f"{what} ({total}) must be at least batch ({batch}) and a multiple of {self.strata}")
        self.rank, self.ranks = world()
        if self.strata % self.ranks:
            raise UserError(
                f"{self.ranks} ranks do not divide a batch of {batch} evenly: use a divisor of {self.strata}"
            )
        self.own = [i for i in range(total) if (i % self.strata) % self.ranks == self.rank]
        self.place = {i: n for n, i in enumerate(self.own)}
        self.updates = round(passes * total / batch)

    def pick(self, update: int, generator: Callable[[int, int], torch.Generator]) -> tuple[Tensor, Tensor]:
        """The `update`-th minibatch since the set was drawn; `generator(pass, stratum)` names the permutation.

        Returns:
            Places (b,) in `own`, and positions (b,) in the minibatch of all ranks, both int64.
        """
        share, members = self.batch // self.strata, self.total // self.strata
        places: list[int] = []
        positions: list[int] = []
        for stratum in range(self.rank, self.strata, self.ranks):
            orders: dict[int, list[int]] = {}
            for visit in range(update * share, (update + 1) * share):
                turn, number = divmod(visit, members)
                if turn not in orders:
                    orders[turn] = torch.randperm(members, generator=generator(turn, stratum)).tolist()
                places.append(self.place[orders[turn][number] * self.strata + stratum])
            positions += range(stratum * share, (stratum + 1) * share)
        return torch.tensor(places), torch.tensor(positions)
