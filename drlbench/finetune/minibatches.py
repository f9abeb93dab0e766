"""Shuffled passes over a drawn set that give the same minibatches on any number of ranks.

Shapes: N items drawn, b of this rank in one minibatch.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from drlbench.errors import UserError
from drlbench.finetune.updater import world


class Minibatches:
    """`total` items over all ranks in minibatches of `batch`; each item is used once per pass.

    Items fall into strata (index modulo up to 8). A minibatch takes equally many of each, and a rank owns
    whole strata: the minibatches are the same sets on any number of ranks.

    Attributes:
        own: indices of the items this rank holds, in the order it holds them.
        updates: minibatches in the life of one drawn set.
    """

    def __init__(self, total: int, batch: int, passes: int, what: str) -> None:
        if total % batch:
            raise UserError(f"{what} ({total}) must be a multiple of batch ({batch})")
        self.total, self.batch, self.passes = total, batch, passes
        self.strata = math.gcd(batch, 8)
        self.rank, self.ranks = world()
        if self.strata % self.ranks:
            raise UserError(
                f"{self.ranks} ranks do not divide a batch of {batch} evenly: use a divisor of {self.strata}"
            )
        self.own = [i for i in range(total) if (i % self.strata) % self.ranks == self.rank]
        self.place = {i: n for n, i in enumerate(self.own)}
        self.updates = passes * (total // batch)

    def pick(self, update: int, generator: Callable[[int, int], torch.Generator]) -> tuple[Tensor, Tensor]:
        """The `update`-th minibatch since the set was drawn; `generator(pass, stratum)` names the permutation.

        Returns:
            Places (b,) in `own`, and positions (b,) in the minibatch of all ranks, both int64.
        """
        turn, number = divmod(update, self.total // self.batch)
        share = self.batch // self.strata
        places: list[int] = []
        positions: list[int] = []
        for stratum in range(self.rank, self.strata, self.ranks):
            order = torch.randperm(self.total // self.strata, generator=generator(turn, stratum))
            members = order[number * share : (number + 1) * share] * self.strata + stratum
            places += [self.place[i] for i in members.tolist()]
            positions += range(stratum * share, (stratum + 1) * share)
        return torch.tensor(places), torch.tensor(positions)
