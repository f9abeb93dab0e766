"""FD-loss (arXiv 2604.28190): the Fréchet distance to the real images in frozen representations is what is minimised.

As published: moments of a large population of generated samples are kept as running averages, and a batch enters them
with the weight 1 - beta, through which alone the gradient flows,
    m = beta m_ema + (1 - beta) mean z,    M = beta M_ema + (1 - beta) mean z z^T,    C = M - m m^T;
the averages start at the moments of a population drawn from the model; each space's distance is divided by its own
present value, and the spaces are added. The published generators take one step.

Ours: samples are those of a flow of `sampler_steps` Euler steps, of which the last `truncate` are differentiated, as
DRaFT does (`sampler_steps: 1` is the published setting); labels are balanced; there is no guidance; rates do not decay
by a cosine; and the gradient is the closed form
    d FD / d z_i = 2 (1 - beta) / B [m - m_real + (I - T)(z_i - m)],    T = R^(1/2) (R^(1/2) C R^(1/2))^(-1/2) R^(1/2),
with R the real covariance and z -> m_real + T (z - m) the optimal map between the two Gaussians, so that chunks and
ranks give the gradient of the whole batch. No reward is used, lambda has no meaning, and nothing holds the policy to
its start. What it looks at is what it is good at: the distances in its own spaces are no measure of it.

Shapes: B samples, N of the population, D features of a space, C channels, H and W height and width of the latent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from drlbench.backbones.base import VelocityModel
from drlbench.errors import UserError
from drlbench.finetune.evaluations import Evaluations, rows
from drlbench.finetune.finite import check_finite
from drlbench.finetune.latents import Latents
from drlbench.finetune.learner import Learner
from drlbench.finetune.memory import Chunks
from drlbench.finetune.ranks import all_sum, world
from drlbench.finetune.settings import Settings
from drlbench.flow.ode import time_grid
from drlbench.rewards.base import Reward

POPULATION_AT_ONCE = 1024
NAMES = ("mean", "second_moment")
SMALLEST = 1e-12  # of the largest eigenvalue: a direction without generated variance would have an infinite slope


@dataclass(frozen=True)
class Space:
    """A representation: images (B, C, H, W) to features (B, D), with the real mean (D,) and covariance (D, D)."""

    name: str
    encode: Callable[[Tensor], Tensor]
    mean: Tensor
    covariance: Tensor


def root(matrix: Tensor) -> Tensor:
    """The square root of a symmetric positive matrix (D, D)."""
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp_min(0).sqrt()) @ vectors.T


def distance_and_map(mean: Tensor, covariance: Tensor, real: Tensor, half: Tensor) -> tuple[Tensor, Tensor]:
    """FD of a Gaussian to the real one of mean `real` (D,) and covariance half @ half, and T (D, D); see the module."""
    values, vectors = torch.linalg.eigh(half @ covariance @ half)
    values = values.clamp_min(SMALLEST * values.max())
    trace = covariance.trace() + half.square().sum() - 2 * values.sqrt().sum()
    across = half @ vectors
    return (mean - real).square().sum() + trace, (across * values.rsqrt()) @ across.T


class FDLossSettings(Settings):
    """Batch, averages and population as published; the rate is that of the published one-step JiT."""

    batch: int = Field(1024, ge=1, description="samples whose gradient is taken in one update")
    sampler_steps: int = Field(20, ge=1, description="Euler steps that draw a sample; 1 as published")
    truncate: int = Field(1, ge=1, description="how many of the last steps are differentiated")
    population: int = Field(50_000, ge=2, description="samples whose moments the running averages start at")
    decay: float = Field(0.999, ge=0, lt=1, description="beta, of the running moments; 0: the batch's own")
    rollout_batch: int | None = Field(None, ge=1, description="samples of the population drawn at once")


class FDLoss(Learner):
    """See the module; `spaces` are what it looks through."""

    name = "fd-loss"
    kind = FDLossSettings
    settings: FDLossSettings
    needs_reward = False
    needs_spaces: ClassVar[bool] = True
    moves_with_start: ClassVar[bool] = True

    def __init__(
        self,
        policy: VelocityModel,
        reference: VelocityModel,
        reward: Reward | None,
        data: tuple[Latents, Tensor] | None,
        settings: dict[str, Any],
        seed: int,
        spaces: Sequence[Space] = (),
    ) -> None:
        """See `Algorithm`.

        Raises:
            UserError: as there, or there is no space.
        """
        if not spaces:
            raise UserError("fd-loss looks through at least one of `encoders`")
        self.spaces = list(spaces)
        super().__init__(policy, reference, reward, data, settings, seed)

    @classmethod
    def evaluations(cls, settings: Mapping[str, Any], updates: int, images: int = 0) -> Evaluations:
        """The population once; each update draws its batch, and differentiates the last steps of it again."""
        s = cls.kind(**settings)
        drawn = rows(s.population, s.rollout_batch or POPULATION_AT_ONCE)
        each = rows(s.batch, s.micro_batch).times(updates)
        return Evaluations(
            forwards=(drawn + each).times(s.sampler_steps),
            trained=each.times(min(s.truncate, s.sampler_steps)),
            reward_forwards=drawn + each,
            reward_products=each,
        )

    def _prepare(self) -> None:
        s, ranks = self.settings, world()[1]
        if self.sharded and s.population % ranks:
            raise UserError(
                f"fd-loss: with sharding fsdp, population ({s.population}) must be a multiple of {ranks} ranks"
            )
        self.real = [space.mean.to(self.device, torch.float64) for space in self.spaces]
        self.half = [root(space.covariance.to(self.device, torch.float64)) for space in self.spaces]
        self.free = max(0, s.sampler_steps - s.truncate)  # steps without gradient
        self.grid = time_grid(s.sampler_steps, self.policy.time_shift).tolist()
        self.moments: list[tuple[Tensor, Tensor]] = []  # m_ema (D,) and M_ema (D, D) of each space

    def step(self) -> dict[str, float]:
        s, update = self.settings, self.updater.updates
        if not self.moments:
            self._fill()
        # The population's noise is not drawn again.
        indices = [s.population + update * s.batch + i for i in self.own_rows(s.batch)]
        late, features = self._draw(indices, self.chunks)
        slopes, found = [], {}
        for i, (space, own) in enumerate(zip(self.spaces, features, strict=True)):
            batch = (all_sum(total) / s.batch for total in (own.sum(0), own.T @ own))
            mean, second = (s.decay * m + (1 - s.decay) * b for m, b in zip(self.moments[i], batch, strict=True))
            distance, mapped = distance_and_map(mean, second - mean.outer(mean), self.real[i], self.half[i])
            centred = own - mean
            slope = 2 * (1 - s.decay) / s.batch * (mean - self.real[i] + centred - centred @ mapped)
            slopes.append((slope / distance).float())  # (b, D)
            found[f"fd/{space.name}"] = float(distance)
            self.moments[i] = mean, second
        y = self.labels(indices)

        def learn(piece: slice) -> None:
            images = self.policy.decode(self._walk(late[piece], y[piece], self.free, s.sampler_steps))
            pulled = [(p.encode(images).float() * g[piece]).sum() for p, g in zip(self.spaces, slopes, strict=True)]
            self.updater.accumulate(torch.stack(pulled).sum())

        with self.recompute():
            self.chunks.run(len(indices), learn)
        return {"loss": sum(found.values()), **found, **self.updater.step()}

    def _fill(self) -> None:
        """Start the running moments at those of the population."""
        s = self.settings
        sums = [(torch.zeros_like(m), torch.zeros_like(h)) for m, h in zip(self.real, self.half, strict=True)]
        own, at_once = self.own_rows(s.population), s.rollout_batch or POPULATION_AT_ONCE
        for start in range(0, len(own), at_once):
            _, features = self._draw(own[start : start + at_once], self.chunked(s.rollout_batch))
            for (first, second), z in zip(sums, features, strict=True):
                first.add_(z.sum(0))
                second.add_(z.T @ z)
        self.moments = [(all_sum(first) / s.population, all_sum(second) / s.population) for first, second in sums]

    @torch.no_grad()
    def _draw(self, indices: list[int], chunks: Chunks) -> tuple[Tensor, list[Tensor]]:
        """Latents (b, C, H, W) before the differentiated steps, and each space's features (b, D) float64 at the end."""
        s, y = self.settings, self.labels(indices)
        late = self.policy.noise_scale * self.path_noise(indices).next()
        features = [torch.empty(len(y), len(mean), dtype=torch.float64, device=self.device) for mean in self.real]

        def look(piece: slice) -> None:
            x = self._walk(late[piece], y[piece], 0, self.free)
            images = self.policy.decode(self._walk(x, y[piece], self.free, s.sampler_steps))
            for space, kept in zip(self.spaces, features, strict=True):
                seen = space.encode(images).double()
                check_finite(self.updater.updates + 1, f"feature in {space.name}", seen.sum(1), indices[piece])
                kept[piece] = seen
            late[piece] = x  # last: a chunk that ran out of memory starts from its noise again

        chunks.run(len(indices), look)
        return late, features

    def _walk(self, x: Tensor, y: Tensor, first: int, last: int) -> Tensor:
        """Latents (B, C, H, W) from the grid's time `first` to `last`, by Euler's steps of the policy."""
        for k in range(first, last):
            t = torch.full((len(x),), self.grid[k], device=self.device)
            x = x + (self.grid[k + 1] - self.grid[k]) * self.policy_velocity(x, t, y)
        return x

    def _own_state(self) -> dict[str, Tensor]:
        return {f"{i}/{n}": m for i, pair in enumerate(self.moments) for n, m in zip(NAMES, pair, strict=True)}

    def _load_own_state(self, state: dict[str, Tensor]) -> None:
        if state:
            own = [[state[f"{i}/{n}"].to(self.device) for n in NAMES] for i in range(len(self.spaces))]
            self.moments = [(first, second) for first, second in own]
