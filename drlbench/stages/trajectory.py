"""Stage: how long X_t is along the memoryless SDE, under a fine-tune's own integrator and number of steps K.

The SDE has the flow ODE's marginals, so E |X_t| of a good discretisation follows the ODE's (the paper's Figure 13).

Shapes: n trajectories, K steps, B batch, C channels, H and W height and width of the latent.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from drlbench.backbones.base import VelocityModel
from drlbench.finetune.adjoint_matching import AdjointMatchingSettings
from drlbench.finetune.evaluations import rows
from drlbench.flow.memoryless import PathNoise, Scheme, rollout, scheme
from drlbench.sampling.generate import balanced_labels
from drlbench.seeds import sample_seeds, seed_of
from drlbench.stages import Job
from drlbench.stages.files import load_model
from drlbench.store import atomic

if TYPE_CHECKING:
    from drlbench.cost.stage import Stage
    from drlbench.cost.work import Work

BATCH = 250


def run(job: Job) -> None:
    """Keep mean Euclidean norms at t_0 .. t_K, of the fine-tuned model (`norm`, `ode`) and of its base (`base_...`)."""
    s = job.settings
    chosen = AdjointMatchingSettings(**s["settings"])
    series: dict[str, list[float]] = {}
    for prefix, name in (("", "model"), ("base_", "base")):
        model = load_model(job.inputs[name], job.device)
        table = scheme(chosen.integrator, chosen.steps, model.noise_scale)
        sde, ode = norms(model, table, s["n"], seed_of("trajectory", s["seed"]), job.device)
        series |= {
            f"{prefix}norm": sde.mean(1).tolist(),
            f"{prefix}norm/error": (sde.std(1) / s["n"] ** 0.5).tolist(),
            f"{prefix}ode": ode.mean(1).tolist(),
        }
        job.progress(1.0 if name == "base" else 0.5)
    summary = {"steps": float(chosen.steps), "last_over_ode": series["norm"][-1] / series["ode"][-1]}
    atomic.put_json(job.out / "curve.json", {"step": list(table.t), "series": series, "summary": summary})


def norms(model: VelocityModel, table: Scheme, n: int, seed: int, device: str) -> tuple[Tensor, Tensor]:
    """|X_t| (K + 1, n) float64 along the SDE, and along the flow ODE (Heun, same grid) from the same noise."""
    y = torch.from_numpy(balanced_labels(n, model.num_classes)).to(device)
    seeds = sample_seeds(seed, n)
    sde, ode = [], []
    for start in range(0, n, BATCH):
        part, labels = seeds[start : start + BATCH], y[start : start + BATCH]
        states = rollout(model.velocity, table, labels, PathNoise(part, model.latent_shape, device))
        sde.append(states.double().flatten(2).norm(dim=2))
        ode.append(_along_ode(model, states[0], labels, table.t).double().flatten(2).norm(dim=2))
    return torch.cat(sde, 1), torch.cat(ode, 1)


@torch.no_grad()
def _along_ode(model: VelocityModel, x: Tensor, y: Tensor, times: tuple[float, ...]) -> Tensor:
    """Every state of Heun's method with an Euler step last, (K + 1, B, C, H, W)."""

    def velocity(x: Tensor, t: float) -> Tensor:
        return model.velocity(x, torch.full((len(x),), t, device=x.device), y).float()

    states = [x]
    for t, after in pairwise(times):
        first = velocity(x, t)
        ahead = x + (after - t) * first
        x = ahead if after == times[-1] else x + (after - t) / 2 * (first + velocity(ahead, after))
        states.append(x)
    return torch.stack(states)


def cost(of: Stage) -> Work:
    """The SDE, and Heun's ODE, of the model and of its base."""
    s = of.settings
    steps = AdjointMatchingSettings(**s["settings"]).steps
    once = rows(s["n"], BATCH).times(steps + 2 * steps - 1)
    return of.model().velocity.run(once) + of.model("base").velocity.run(once)
