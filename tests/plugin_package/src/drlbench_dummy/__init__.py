"""One dummy of every kind a third party can add to drlbench. docs/extending.md quotes this file."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from drlbench.backbones.base import Autoencoder, Backbone, Procedure, Request, VelocityModel
from drlbench.backbones.cards import Card, Published
from drlbench.cost.stage import Stage
from drlbench.cost.work import Work
from drlbench.encoders.base import Encoder
from drlbench.finetune.base import Algorithm
from drlbench.metrics.base import Evidence, Measurement, Metric
from drlbench.metrics.bootstrap import of_mean, resample_counts
from drlbench.rewards.base import Reward
from drlbench.stages.measuring import Job, MeasuringStage, read_samples, write_measurements
from drlbench.weights.asset import Asset


# [metric]
class MeanInk(Metric):
    """Mean grey level of the samples, in [0, 1]."""

    needs = "images"

    def measure(self, evidence: Evidence) -> list[Measurement]:
        evidence.require("dummy-ink", "images")
        values = evidence.images.reshape(len(evidence.images), -1).mean(1) / 255  # (n,)
        return [of_mean("dummy-ink", values.astype(np.float64), evidence.counts, "closer")]


# [stage]
class Edges(MeasuringStage):
    """Mean step between neighbouring rows, in [0, 1]; `reach` is how far apart they are."""

    def __init__(self, reach: int = 1) -> None:
        self.reach = reach

    def run(self, job: Job) -> None:
        images, _ = read_samples(job.inputs["samples"])  # (n, H, W, C) uint8
        steps = np.abs(images[:, self.reach :] / 255 - images[:, : -self.reach] / 255).mean((1, 2, 3))  # (n,)
        counts = resample_counts(len(steps), job.settings["resamples"])
        write_measurements(job.out, [of_mean(job.settings["name"], steps, counts, "closer")])

    def cost(self, of: Stage) -> Work:
        return of.host(3 * of.input("samples").images * of.pixels)


# [reward]
class Brightness(Reward):
    """Rewards light images; `gain` is its one setting."""

    def __init__(self, name: str, gain: float = 1.0) -> None:
        super().__init__()
        self.name, self.gain = name, gain
        self.signature = f"dummy-reward:gain{gain:g}"

    def forward(self, images: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return self.gain * images.flatten(1).mean(1)  # (B,)


# [encoder]
class Halves(Encoder):
    """Mean of the upper and of the lower half: two features."""

    dim = 2
    signature = "dummy-encoder@1"

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        upper, lower = images.chunk(2, dim=2)
        return torch.stack([upper.flatten(1).mean(1), lower.flatten(1).mean(1)], dim=1)  # (B, 2)


# [algorithm]
class ShrinkTowardsReference(Algorithm):
    """Pulls the policy's weights towards the reference's; learns nothing, but is saved and resumed like any other."""

    def __init__(self, policy, reference, reward, data, settings, seed) -> None:
        self.policy, self.reference, self.updates = policy, reference, 0

    @property
    def signature(self) -> str:
        return "dummy-algorithm@1"

    def step(self) -> dict[str, float]:
        with torch.no_grad():
            for own, other in zip(self.policy.parameters(), self.reference.parameters(), strict=True):
                own.lerp_(other, 0.5)
        self.updates += 1
        return {"loss": 0.0}

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {"updates": torch.tensor(self.updates)} | {
            f"net/{n}": p for n, p in self.policy.net.state_dict().items()
        }

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        self.updates = int(state["updates"])
        self.policy.net.load_state_dict({n.removeprefix("net/"): p for n, p in state.items() if n.startswith("net/")})


# [backbone]
class LinearProcedure(Procedure):
    """Its authors' sampling: `leap` goes `num_steps` equal steps of Euler's method from noise at 0 to data at 1."""

    methods = ("leap",)
    usual = ("leap", 10)

    def sample(self, r: Request) -> torch.Tensor:
        x = r.noise
        for step in range(r.num_steps):
            t = torch.full((len(x),), step / r.num_steps, device=x.device)
            v = r.net(x, t, r.y)
            if r.cfg_scale != 1 and r.cfg_interval[0] <= step / r.num_steps <= r.cfg_interval[1]:
                unlabelled = r.net(x, t, r.null)
                v = unlabelled + r.cfg_scale * (v - unlabelled)
            x = x + v / r.num_steps
        return x

    def evaluations(self, method: str, steps: int) -> int:
        return steps

    def to_uint8(self, images: torch.Tensor) -> torch.Tensor:
        return ((images + 1) * 127.5).clamp(0, 255).round().to(torch.uint8)  # images in [-1, 1]


class Linear(Backbone):
    """A velocity linear in x, with one offset per class: v = W x + b(y)."""

    family = "dummy-backbone"
    fingerprint = "matrix.weight"
    official = LinearProcedure()
    sizes: ClassVar = {"dummy-backbone-s": {"in_channels": 1, "input_size": 8, "num_classes": 10}}
    cards = (
        Card(
            name="dummy-backbone-s-digits",
            size="dummy-backbone-s",
            asset=Asset("dummy-backbone-s-digits", "s.pt", page="https://example.org/dummy-backbone", size=20_000),
            autoencoder="pixels",
            format="training checkpoint",
            ema="ema",
            published=(Published("fid", 31.4, "5,000 samples, leap in 10 steps", "their README"),),
        ),
    )
    recipe: ClassVar = {"adjoint-matching": {"batch": 32, "learning_rate": 1e-3, "warmup": 5, "gradient_clip": None}}

    def __init__(self, in_channels: int, input_size: int, num_classes: int) -> None:
        super().__init__()
        self.latent_shape, self.num_classes = (in_channels, input_size, input_size), num_classes
        size = in_channels * input_size**2
        self.linear, self.offset = nn.Linear(size, size), nn.Embedding(num_classes + 1, size)

    def forward(self, x: torch.Tensor, t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return (self.linear(x.flatten(1)) + self.offset(y)).view_as(x)

    @classmethod
    def infer_architecture(cls, state, given):
        classes, size = state["offset.weight"].shape
        channels = given.get("in_channels", 1)
        side = math.isqrt(size // channels)
        return {"in_channels": channels, "input_size": side, "num_classes": classes - 1, **given}

    def load_weights(self, state) -> None:
        super().load_weights({name.replace("matrix.", "linear."): value for name, value in state.items()})

    def official_state_dict(self) -> dict[str, torch.Tensor]:
        return {name.replace("linear.", "matrix."): value for name, value in self.state_dict().items()}

    def velocity_model(self, autoencoder: Autoencoder) -> VelocityModel:
        return LinearVelocity(self, autoencoder)


class LinearVelocity(VelocityModel):
    """`Linear` is already in the one convention: t = 0 noise, t = 1 data, velocity = data - noise."""

    def __init__(self, net: Linear, autoencoder: Autoencoder) -> None:
        super().__init__()
        self.net, self.autoencoder = net, autoencoder
        self.latent_shape, self.num_classes = net.latent_shape, net.num_classes

    def velocity(self, x: torch.Tensor, t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return self.net(x, t, y)


# [end]
