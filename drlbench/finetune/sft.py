"""Flow-matching fine-tuning on given latents: the control with the same optimum as a perfect discriminator.

On real data its optimum is the data distribution, which is also that of the DRL logit at lambda = 1; on a
teacher's samples it is the student of the paper's Figure 10. No reward is used and lambda has no meaning.

Shapes: B batch, C channels, H and W height and width of the latent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from drlbench.finetune.evaluations import Evaluations, rows
from drlbench.finetune.learner import ORDER, Learner
from drlbench.finetune.ranks import all_sum
from drlbench.finetune.settings import Settings
from drlbench.flow.path import column, interpolate, shift_time


class SFTSettings(Settings):
    time: Literal["uniform", "logit-normal"] = Field("uniform", description="law of t")
    time_mean: float = Field(0.0, description="of the logit of t, for logit-normal")
    time_std: float = Field(1.0, gt=0, description="deviation of the logit of t, for logit-normal")


class FlowMatchingSFT(Learner):
    """mean |v_theta(X_t, t, y) - (X_1 - s X_0)|^2 over latents `data`, visited in shuffled epochs.

    Where the backbone's velocity divides by max(1 - t, e), its target does: (X_1 - X_t) / max(1 - t, e).
    """

    name = "sft"
    kind: ClassVar[type[SFTSettings]] = SFTSettings
    settings: SFTSettings
    needs_reward = False
    needs_data = True

    @classmethod
    def evaluations(cls, settings: Mapping[str, Any], updates: int, images: int = 0) -> Evaluations:
        s = cls.kind(**settings)
        return Evaluations(trained=rows(s.batch, s.micro_batch).times(updates))

    def step(self) -> dict[str, float]:
        s, update = self.settings, self.updater.updates
        assert self.data is not None
        own = self.own_rows(s.batch)
        picked = self._epoch_rows([update * s.batch + i for i in own]).to(self.data[0].device)
        x1, y = self.data[0][picked].to(self.device), self.data[1][picked].to(self.device)
        xt, t, target = self.noised(x1, torch.tensor(own), 0)
        total = torch.zeros((), device=self.device)
        share = 1 / (s.batch * x1[0].numel())

        def learn(piece: slice) -> None:
            v = self.policy_velocity(xt[piece], t[piece], y[piece])
            loss = share * (v - target[piece]).square().sum()
            self.updater.accumulate(loss)
            total.add_(loss.detach())

        with self.recompute():
            self.chunks.run(len(own), learn)
        return {"loss": float(all_sum(total))} | self.updater.step()

    def noised(self, x1: Tensor, positions: Tensor, stream: int) -> tuple[Tensor, Tensor, Tensor]:
        """X_t (b, C, H, W), t (b,) and the target (b, C, H, W) of latents at these positions of this update's batch."""
        s, update = self.settings, self.updater.updates
        x0 = self.policy.noise_scale * self.drawn("normal", (s.batch, *x1.shape[1:]), update, stream)[positions]
        if s.time == "uniform":
            t = self.drawn("uniform", (s.batch,), update, stream + 1)[positions]
        else:
            t = (s.time_mean + s.time_std * self.drawn("normal", (s.batch,), update, stream + 1)[positions]).sigmoid()
        t = shift_time(t, self.policy.time_shift)  # as the backbone was trained
        floor, left = self.policy.time_floor, column(1 - t, x1)
        target = (x1 - x0) * (left / left.clamp_min(floor)) if floor > 0 else x1 - x0
        return interpolate(x0, x1, t), t, target

    def _epoch_rows(self, visits: list[int]) -> Tensor:
        """Rows of the data for the n-th, ... visits: each epoch is its own permutation."""
        assert self.data is not None
        size = len(self.data[0])
        orders: dict[int, Tensor] = {}
        rows = []
        for visit in visits:
            epoch, place = divmod(visit, size)
            if epoch not in orders:
                orders[epoch] = torch.randperm(size, generator=self.generator(ORDER, epoch))
            rows.append(int(orders[epoch][place]))
        return torch.tensor(rows)

    def _own_state(self) -> dict[str, Tensor]:
        return {}

    def _load_own_state(self, state: dict[str, Tensor]) -> None:
        pass
