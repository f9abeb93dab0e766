"""What the gradient-free rivals share: scored endpoints of an ODE sampler, drawn in groups of one class.

Each update regresses at several noise levels of a minibatch of endpoints:
X_t = t X_1 + (1 - t) s X_0 with target u = X_1 - s X_0.

Shapes: N endpoints in a draw, G of them in a group, b in this rank's minibatch, T times for each, R = b T rows.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal, Self, TypeVar

import torch
from pydantic import Field
from torch import Tensor

from drlbench.errors import UserError
from drlbench.finetune.evaluations import Evaluations, rows
from drlbench.finetune.learner import ORDER, Learner
from drlbench.finetune.minibatches import Minibatches
from drlbench.finetune.ranks import all_sum
from drlbench.finetune.settings import Settings
from drlbench.flow.ode import sampler, time_grid
from drlbench.flow.path import Velocity, interpolate, shift_time


class EndpointSettings(Settings):
    """`advantage` raw: lambda (R - mean of the others in the group), in nats; standard: as GRPO normalises it."""

    endpoints: int = Field(576, ge=1, description="samples drawn and scored at a time, a multiple of batch")
    passes: int = Field(1, ge=1, description="passes over the endpoints of a draw")
    group: int = Field(24, ge=2, description="endpoints of one class that are compared with each other")
    sampler: Literal["euler", "heun"] = Field("euler", description="solver that draws the endpoints")
    sampler_steps: int = Field(10, ge=1, description="steps of the sampler that draws endpoints")
    times: int = Field(4, ge=1, description="noise levels per endpoint and update")
    t_max: float = Field(1.0, gt=0, le=1, description="largest time trained at; 0.95 for JiT's clamped velocity")
    advantage: Literal["raw", "standard"] = Field(
        "raw",
        description="raw: lambda (reward - mean of the group's others); standard: (reward - group's mean) / deviation",
    )
    rollout_batch: int | None = Field(None, ge=1, description="endpoints sampled at once")


@dataclass
class RowSet:
    """R training rows: time t, label y and advantage, (R,) each; a slice of it is a chunk."""

    t: Tensor
    y: Tensor
    advantage: Tensor

    def __getitem__(self, piece: slice) -> Self:
        return type(self)(*(getattr(self, name)[piece] for name in self.__dataclass_fields__))


@dataclass
class Rows(RowSet):
    """Rows of velocity matching: endpoint x1, target u = X_1 - s X_0 and state xt, (R, C, H, W) each."""

    x1: Tensor
    target: Tensor
    xt: Tensor


R = TypeVar("R", bound=RowSet)


class EndpointLearner(Learner, Generic[R]):
    """Draws endpoints, computes advantages, serves rows; a subclass writes the loss of some rows."""

    settings: EndpointSettings

    @classmethod
    def evaluations(cls, settings: Mapping[str, Any], updates: int, images: int = 0) -> Evaluations:
        """Endpoints drawn and scored; each update trains rows of a minibatch beside `frozen` forwards of each."""
        s = cls.kind(**settings)
        assert isinstance(s, EndpointSettings)
        draws = math.ceil(updates / cls.updates_per_draw(s))
        endpoint = rows(s.endpoints, s.rollout_batch).times(draws)
        learned = rows(s.batch * cls.rows_of_endpoint(s), s.micro_batch).times(updates)
        frozen, copies, held = cls.beside(s)
        return Evaluations(
            forwards=endpoint.times(cls.evaluations_of_endpoint(s)) + learned.times(frozen),
            trained=learned,
            reward_forwards=endpoint,
            copies=copies,
            held=4 * s.endpoints * (1 + held),
        )

    @staticmethod
    def updates_per_draw(s: EndpointSettings) -> int:
        """Minibatches in the life of a draw."""
        return round(s.passes * s.endpoints / s.batch)

    @classmethod
    def evaluations_of_endpoint(cls, s: Any) -> int:
        """Forwards that draw one endpoint, for `evaluations`."""
        return int(2 * s.sampler_steps - 1 if s.sampler == "heun" else s.sampler_steps)

    @classmethod
    def rows_of_endpoint(cls, s: Any) -> int:
        """Rows that an update trains of one endpoint."""
        return int(s.times)

    @classmethod
    def beside(cls, s: Any) -> tuple[int, int, int]:
        """Forwards of frozen networks for each trained row, copies of the network, and latents kept of an endpoint."""
        return 0, 0, 0

    def _prepare(self) -> None:
        s = self.settings
        if s.endpoints % s.group:
            raise UserError(f"{self.name}: endpoints ({s.endpoints}) must be a multiple of group ({s.group})")
        self.order = Minibatches(s.endpoints, s.batch, s.passes, "endpoints")
        self.rollout_chunks = self.chunked(s.rollout_batch)
        self.own = torch.tensor(self.order.own, device=self.device)
        own = len(self.own)
        self.x1 = torch.zeros(own, *self.policy.latent_shape, device=self.device)
        self.y = torch.zeros(own, dtype=torch.int64, device=self.device)
        self.rewards = torch.zeros(s.endpoints, device=self.device)  # of all ranks
        self.advantage = torch.zeros(s.endpoints, device=self.device)
        self.drawn_sets, self.used = 0, self.order.updates

    @abstractmethod
    def row_loss(self, rows: R) -> Tensor:
        """Loss of each row (r,), with the policy's graph; the update uses its mean over the batch."""

    def draw_velocity(self) -> Velocity:
        """Whose endpoints are drawn."""
        return self.policy_velocity

    def after_draw(self) -> None:
        """Hook for what happens once per draw, after sampling."""

    def step(self) -> dict[str, float]:
        if self.used == self.order.updates:
            self._draw()
        places, positions = self.order.pick(
            self.used, lambda turn, stratum: self.generator(ORDER, self.drawn_sets, turn, stratum)
        )
        rows = self.rows(places.to(self.device), positions.to(self.device))
        count = len(rows.t)
        share = 1 / (self.settings.batch * (count // len(places)))
        total = torch.zeros((), device=self.device)

        def learn(piece: slice) -> None:
            loss = share * self.row_loss(rows[piece]).sum()
            self.updater.accumulate(loss)
            total.add_(loss.detach())

        with self.recompute():
            self.chunks.run(count, learn)
        self.used += 1
        log = {"loss": float(all_sum(total)), "reward": float(self.rewards.mean())}
        return log | self.updater.step()

    @abstractmethod
    def rows(self, places: Tensor, positions: Tensor) -> R:
        """Rows of a minibatch; places (b,) in this rank's endpoints, positions (b,) in the whole minibatch."""

    def advantages(self) -> Tensor:
        """Advantage of every endpoint of the draw, (N,), by `advantage` of the settings."""
        s = self.settings
        grouped = self.rewards.view(-1, s.group)
        if s.advantage == "raw":
            others = (grouped.sum(1, keepdim=True) - grouped) / (s.group - 1)
            return (s.lam * (grouped - others)).flatten()
        return ((grouped - grouped.mean(1, keepdim=True)) / (self.rewards.std() + 1e-4)).flatten()

    def sample(self, velocity: Velocity, indices: list[int], y: Tensor, piece: slice) -> Tensor:
        """Endpoints (B, C, H, W) from the noise that belongs to `indices`, by the ODE; `piece` is their place."""
        x0 = self.policy.noise_scale * self.path_noise(indices).next()
        grid = time_grid(self.settings.sampler_steps, self.policy.time_shift)
        with torch.no_grad():
            return sampler(self.settings.sampler)(lambda x, t: velocity(x, t, y), x0, grid)

    def _draw(self) -> None:
        s, own = self.settings, self.order.own
        velocity = self.draw_velocity()
        scores = torch.zeros(s.endpoints, device=self.device)

        def simulate(piece: slice) -> None:
            indices = [self.drawn_sets * s.endpoints + i for i in own[piece]]
            y = self.labels([i // s.group for i in indices])
            self.x1[piece] = self.sample(velocity, indices, y, piece)
            self.y[piece] = y
            scores[self.own[piece]] = self.score(self.x1[piece], y)

        self.rollout_chunks.run(len(own), simulate)
        self.rewards = all_sum(scores)
        self.advantage = self.advantages()
        self.drawn_sets, self.used = self.drawn_sets + 1, 0
        self.after_draw()

    def _own_state(self) -> dict[str, Tensor]:
        state = {"counters": torch.tensor([self.drawn_sets, self.used]), "rewards": self.rewards}
        return state | {"x1": self.x1, "y": self.y}

    def _load_own_state(self, state: dict[str, Tensor]) -> None:
        self.drawn_sets, self.used = state["counters"].tolist()
        for name in ("rewards", "x1", "y"):
            getattr(self, name).copy_(state[name])
        self.advantage = self.advantages()


class MatchingLearner(EndpointLearner[Rows]):
    """An `EndpointLearner` whose rows are noised endpoints."""

    def times_of(self, update: int) -> Tensor:
        """Times (batch, T) up to t_max: stratified uniform, then the backbone's own shift towards noise."""
        s = self.settings
        t = (torch.arange(s.times, device=self.device) + self.drawn("uniform", (s.batch, s.times), update, 1)) / s.times
        return shift_time(t, self.policy.time_shift, s.t_max)

    def rows(self, places: Tensor, positions: Tensor) -> Rows:
        update = self.updater.updates
        t = self.times_of(update)[positions]  # (b, T)
        times = t.shape[1]
        noise = self.drawn("normal", (self.settings.batch, times, *self.policy.latent_shape), update, 0)[positions]
        x1 = self.x1[places].repeat_interleave(times, 0)  # (R, C, H, W)
        x0 = self.policy.noise_scale * noise.flatten(0, 1)
        advantage = self.advantage[self.own[places]].repeat_interleave(times)
        y = self.y[places].repeat_interleave(times)
        return Rows(t.flatten(), y, advantage, x1, x1 - x0, interpolate(x0, x1, t.flatten()))

    @staticmethod
    def no_grad(velocity: Velocity, rows: Rows) -> Tensor:
        """A frozen model's velocity at the rows."""
        with torch.no_grad():
            return velocity(rows.xt, rows.t, rows.y)


def mean_square(difference: Tensor) -> Tensor:
    """Mean over a row's dimensions of the squared difference, (R,)."""
    return difference.flatten(1).square().mean(1)
