"""The trajectory buffer of adjoint matching: states and regression targets.

The loss 1/2 |(2/sigma)(v_theta - v_base) + sigma a|^2 is 1/2 (2/sigma)^2 |v_theta - u|^2 with
u = v_base - (sigma^2/2) a, so one target per state is all that has to be kept.

Shapes: K steps, N trajectories of this rank, b of them in a minibatch, m chosen timesteps.
"""

from __future__ import annotations

import math

import psutil
import torch
from torch import Tensor

from drlbench.errors import MissingPrerequisite


class TrajectoryBuffer:
    """Room for N trajectories of K states each."""

    def __init__(self, steps: int, trajectories: int) -> None:
        self.steps, self.trajectories = steps, trajectories
        self.x = self.target = torch.empty(0)  # (K, N, C, H, W)
        self.y = torch.empty(0, dtype=torch.int64)  # (N,)

    def allocate(self, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device, pinned: bool) -> None:
        """Make room once; `pinned` keeps the buffer in page-locked host memory.

        Raises:
            MissingPrerequisite: the host has not that much memory free; the kernel would kill the run without a word.
        """
        if self.x.numel():
            return
        size = (self.steps, self.trajectories, *shape)
        needed, free = 2 * math.prod(size) * dtype.itemsize, psutil.virtual_memory().available
        if device.type == "cpu" and needed > free:
            raise MissingPrerequisite(
                f"the trajectory buffer ({self.steps} steps of {self.trajectories} trajectories) takes "
                f"{needed / 1e9:.0f} GB of host memory and {free / 1e9:.0f} GB are free: lower `buffer` or `steps`, "
                "set buffer_dtype bf16, or use more ranks"
            )
        # torch takes page-locked memory in powers of two; where only the plain size fits, it is plain memory.
        pinned = pinned and 2 * (1 << (needed // 2 - 1).bit_length()) <= free
        self.x = torch.zeros(size, dtype=dtype, device=device, pin_memory=pinned)
        self.target = torch.zeros(size, dtype=dtype, device=device, pin_memory=pinned)
        self.y = torch.zeros(size[1], dtype=torch.int64, device=device)

    def put(self, piece: slice, x: Tensor, target: Tensor, y: Tensor) -> None:
        """Store trajectories."""
        if x.device == self.x.device:
            self.x[:, piece].copy_(x)
            self.target[:, piece].copy_(target)
        else:
            # Step by step both sides are whole pieces of memory, which a GPU writes straight to the host.
            for k in range(self.steps):
                self.x[k, piece].copy_(x[k])
                self.target[k, piece].copy_(target[k])
        self.y[piece].copy_(y)

    def rows(self, timesteps: Tensor, places: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x, target (m, b, C, H, W) and y (b,) of chosen timesteps and trajectories."""
        timesteps, places = timesteps.to(self.x.device), places.to(self.x.device)
        picked = timesteps[:, None], places[None, :]
        return self.x[picked], self.target[picked], self.y[places]

    def state_dict(self) -> dict[str, Tensor]:
        return {"x": self.x, "target": self.target, "y": self.y}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        for name in ("x", "target", "y"):
            getattr(self, name).copy_(state[name])
