"""The trajectory buffer of adjoint matching: states and regression targets, read in several shuffled passes.

The loss 1/2 |(2/sigma)(v_theta - v_base) + sigma a|^2 is 1/2 (2/sigma)^2 |v_theta - u|^2 with
u = v_base - (sigma^2/2) a, so one target per state is all that has to be kept.

Shapes: K steps, N trajectories of this rank, b of them in a minibatch, m chosen timesteps.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from drlbench.errors import UserError
from drlbench.finetune.updater import world


class TrajectoryBuffer:
    """`total` trajectories over all ranks in minibatches of `batch`; each is used once per pass.

    Trajectories fall into strata (index modulo up to 8). A minibatch takes equally many of each, and a rank
    owns whole strata: the minibatches are the same sets on any number of ranks.
    """

    def __init__(self, total: int, batch: int, passes: int, steps: int) -> None:
        if total % batch:
            raise UserError(f"buffer ({total}) must be a multiple of batch ({batch})")
        self.total, self.batch, self.passes, self.steps = total, batch, passes, steps
        self.strata = math.gcd(batch, 8)
        rank, ranks = world()
        if self.strata % ranks:
            raise UserError(f"{ranks} ranks do not divide a batch of {batch} evenly: use a divisor of {self.strata}")
        self.own = [i for i in range(total) if (i % self.strata) % ranks == rank]
        self.place = {i: n for n, i in enumerate(self.own)}
        self.updates = passes * (total // batch)
        self.x = self.target = torch.empty(0)  # (K, N, C, H, W)
        self.finite = torch.empty(0, dtype=torch.bool)  # (K, N)
        self.y = torch.empty(0, dtype=torch.int64)  # (N,)

    def allocate(self, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device, pinned: bool) -> None:
        """Make room once; `pinned` keeps the buffer in page-locked host memory."""
        if self.x.numel():
            return
        size = (self.steps, len(self.own), *shape)
        self.x = torch.zeros(size, dtype=dtype, device=device, pin_memory=pinned)
        self.target = torch.zeros(size, dtype=dtype, device=device, pin_memory=pinned)
        self.finite = torch.zeros(size[:2], dtype=torch.bool, device=device)
        self.y = torch.zeros(size[1], dtype=torch.int64, device=device)

    def put(self, piece: slice, x: Tensor, target: Tensor, y: Tensor) -> None:
        """Store trajectories; states that are not finite are zeroed and never selected as training rows."""
        finite = torch.isfinite(x.flatten(2).sum(-1)) & torch.isfinite(target.flatten(2).sum(-1))  # (K, n)
        if not finite.all():
            keep = finite.reshape(*finite.shape, *[1] * (x.ndim - 2))
            x, target = torch.where(keep, x, 0.0), torch.where(keep, target, 0.0)
        self.x[:, piece].copy_(x)
        self.target[:, piece].copy_(target)
        self.finite[:, piece].copy_(finite)
        self.y[piece].copy_(y)

    def minibatch(self, update: int, generator: Callable[[int, int], torch.Generator]) -> Tensor:
        """Places (b,) int64 of this rank's trajectories in the `update`-th minibatch of the buffer's life.

        `generator(pass, stratum)` names the permutation.
        """
        turn, number = divmod(update, self.total // self.batch)
        share = self.batch // self.strata
        rank, ranks = world()
        chosen = []
        for stratum in range(rank, self.strata, ranks):
            order = torch.randperm(self.total // self.strata, generator=generator(turn, stratum))
            members = order[number * share : (number + 1) * share] * self.strata + stratum
            chosen += [self.place[i] for i in members.tolist()]
        return torch.tensor(chosen)

    def rows(self, timesteps: Tensor, places: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """x, target (m, b, C, H, W), finite (m, b) and y (b,) of chosen timesteps and trajectories."""
        timesteps, places = timesteps.to(self.x.device), places.to(self.x.device)
        picked = timesteps[:, None], places[None, :]
        return self.x[picked], self.target[picked], self.finite[picked], self.y[places]

    def state_dict(self) -> dict[str, Tensor]:
        return {"x": self.x, "target": self.target, "finite": self.finite, "y": self.y}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        for name in ("x", "target", "finite", "y"):
            getattr(self, name).copy_(state[name])
