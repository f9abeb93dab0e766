"""Direct discriminative optimisation (arXiv 2503.01103): the policy over its start is itself the discriminator.

Real latents against samples of the reference, by the logistic loss of the log-ratio of the two models,
    -E_data w(x) log s(D) - alpha E_reference log s(-D),    D = beta (|v_reference - u|^2 - |v_theta - u|^2),
where the squared flow-matching errors at one (X_1, t, X_0), summed over dimensions, stand for log p_theta/p_reference.
With the true log-ratio and alpha = 1 the optimum is the data distribution, the same as DRL's at lambda = 1, without a
reward model. Rounds take the last round's model as the next reference.

With a reward, w(x) = exp(lambda r(x)) over its mean within the class of x: the optimum is then the data's own tilt. No
gradient of the reward is taken, and the data need scoring once.

Shapes: N negatives drawn, b of this rank in one minibatch, C channels, H and W height and width of the latent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import softplus

from drlbench.finetune.evaluations import Evaluations, rows
from drlbench.finetune.learner import LABELS
from drlbench.finetune.minibatches import Minibatches
from drlbench.finetune.ranks import all_sum
from drlbench.finetune.sft import FlowMatchingSFT, SFTSettings
from drlbench.flow.ode import sampler, time_grid

SCORED_AT_ONCE = 256


class DDOSettings(SFTSettings):
    """The defaults are those of small models; `preset: paper` gives official ones their batch and rate."""

    batch: int = Field(256, ge=1, description="real latents in one update; as many negatives come with them")
    learning_rate: float = Field(2e-3, gt=0, description="peak, of AdamW")
    alpha: float = Field(1.0, ge=0, description="weight of the negatives")
    beta: float = Field(0.05, gt=0, description="slope of the log-ratio, of squares summed over dimensions")
    negatives: int = Field(4096, ge=1, description="samples of the reference that are drawn once, a multiple of 8")
    sampler: Literal["euler", "heun"] = Field("heun", description="of the negatives")
    sampler_steps: int = Field(20, ge=1, description="steps of the sampler that draws negatives")
    rollout_batch: int | None = Field(None, ge=1, description="negatives sampled at once")


class DDO(FlowMatchingSFT):
    """See the module."""

    name = "ddo"
    kind = DDOSettings
    settings: DDOSettings
    moves_with_start: ClassVar[bool] = True

    @classmethod
    def evaluations(cls, settings: Mapping[str, Any], updates: int, images: int = 0) -> Evaluations:
        """The negatives once, and both sides of every update beside the reference; a reward scores the data once."""
        s = cls.kind(**settings)
        both = rows(2 * s.batch, s.micro_batch).times(updates)
        drawn = rows(s.negatives, s.rollout_batch)
        each = 2 * s.sampler_steps - 1 if s.sampler == "heun" else s.sampler_steps
        return Evaluations(
            forwards=drawn.times(each) + both,
            trained=both,
            reward_forwards=rows(images, SCORED_AT_ONCE),
            held=4 * s.negatives,
        )

    def _prepare(self) -> None:
        s = self.settings
        self.order = Minibatches(s.negatives, s.batch, 1, "negatives")
        own = len(self.order.own)
        self.x1 = torch.zeros(own, *self.policy.latent_shape, device=self.device)
        self.y = torch.zeros(own, dtype=torch.int64, device=self.device)
        self.weights = torch.ones(0)  # (n,) of the data
        self.drawn_negatives = False

    def step(self) -> dict[str, float]:
        if not self.drawn_negatives:
            self._draw()
        s, update = self.settings, self.updater.updates
        assert self.data is not None
        own = self.own_rows(s.batch)
        picked = self._epoch_rows([update * s.batch + i for i in own])
        rows = picked.to(self.data[0].device)
        real, real_y = self.data[0][rows].to(self.device), self.data[1][rows].to(self.device)
        places, positions = self.order.pick(update, lambda turn, stratum: self.generator(LABELS, 1, turn, stratum))
        places = places.to(self.device)
        sides = [self.noised(real, torch.tensor(own), 0), self.noised(self.x1[places], positions, 2)]
        xt, t, target = (torch.cat(pair) for pair in zip(*sides, strict=True))  # (2 b, ...)
        y = torch.cat([real_y, self.y[places]])
        sign = torch.cat([torch.ones(len(own)), -torch.ones(len(places))]).to(self.device)
        weight = torch.cat([self.weights[picked], torch.full((len(places),), s.alpha)]).to(self.device)
        sums = torch.zeros(3, device=self.device)  # loss, log-ratio of real latents and of negatives

        def learn(piece: slice) -> None:
            with torch.no_grad():
                reference = (self.reference_velocity(xt[piece], t[piece], y[piece]) - target[piece]).square()
            error = (self.policy_velocity(xt[piece], t[piece], y[piece]) - target[piece]).square()
            ratio = s.beta * (reference - error).flatten(1).sum(1)
            loss = (weight[piece] * softplus(-sign[piece] * ratio)).sum() / s.batch
            self.updater.accumulate(loss)
            side = sign[piece] > 0
            parts = (loss, ratio[side].sum() / s.batch, ratio[~side].sum() / s.batch)
            sums.add_(torch.stack([part.detach() for part in parts]))

        with self.recompute():
            self.chunks.run(len(t), learn)
        loss, real_ratio, fake_ratio = all_sum(sums).tolist()
        log = {"loss": loss, "ratio_real": real_ratio, "ratio_negatives": fake_ratio}
        if self.reward is not None:
            log["effective_sample_share"] = float(
                self.weights.sum() ** 2 / (len(self.weights) * self.weights.square().sum())
            )
        return log | self.updater.step()

    def _draw(self) -> None:
        """Sample the negatives of this rank from the reference, and weigh the data."""
        s, own = self.settings, self.order.own
        grid = time_grid(s.sampler_steps, self.policy.time_shift)

        def simulate(piece: slice) -> None:
            y = self.labels(own[piece])
            x0 = self.policy.noise_scale * self.path_noise(own[piece]).next()
            with torch.no_grad():
                self.x1[piece] = sampler(s.sampler)(lambda x, t: self.reference_velocity(x, t, y), x0, grid)
            self.y[piece] = y

        self.chunked(s.rollout_batch).run(len(own), simulate)
        self.weights = self._weights()
        self.drawn_negatives = True

    def _weights(self) -> Tensor:
        """w (n,) of the data, mean 1 in each class; ones without a reward."""
        assert self.data is not None
        latents, labels = self.data
        count = len(labels)
        if self.reward is None:
            return torch.ones(count)
        scores = torch.zeros(count, device=self.device)
        for piece in torch.tensor(self.own_rows(count)).split(SCORED_AT_ONCE):
            at = piece.to(latents.device)
            scores[piece] = self.score(latents[at].to(self.device), labels[at].to(self.device))
        scores, labels = all_sum(scores).cpu(), labels.cpu()
        weights = torch.zeros(count)
        for c in labels.unique().tolist():
            members = labels == c
            weights[members] = (self.settings.lam * scores[members]).softmax(0) * members.sum()
        return weights

    def _own_state(self) -> dict[str, Tensor]:
        if not self.drawn_negatives:
            return {}
        return {"x1": self.x1, "y": self.y, "weights": self.weights}

    def _load_own_state(self, state: dict[str, Tensor]) -> None:
        self.drawn_negatives = bool(state)
        if state:
            self.x1.copy_(state["x1"])
            self.y.copy_(state["y"])
            self.weights = state["weights"].cpu().clone()
