"""FD-loss against autograd through the published objective, and where it ends for linear generators."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from finetune_models import IdentityAutoencoder
from golden_runs import build, own_arguments
from torch import Tensor, nn

from drlbench.backbones.base import VelocityModel
from drlbench.errors import UserError
from drlbench.finetune.fd_loss import FDLoss, Space, distance_and_map, root
from drlbench.finetune.learner import Learner, shadow
from drlbench.metrics.frechet import frechet_distance
from drlbench.plan.pipeline import lay_out
from drlbench.suite.load import load_suite


def gaussian(seed: int, size: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    factor = torch.randn(size, size + 2, generator=generator, dtype=torch.float64)
    return torch.randn(size, generator=generator, dtype=torch.float64), factor @ factor.T / size


def test_distance_and_map_are_those_of_two_gaussians() -> None:
    (mean, covariance), (real, wanted) = gaussian(0), gaussian(1)
    distance, mapped = distance_and_map(mean, covariance, real, root(wanted))
    samples = [
        torch.distributions.MultivariateNormal(m, c).sample((4000,)) for m, c in ((mean, covariance), (real, wanted))
    ]
    own = [(x.mean(0), x.T.cov()) for x in samples]
    by_metric = frechet_distance(samples[0].numpy(), samples[1].numpy()).value
    assert float(distance_and_map(*own[0], own[1][0], root(own[1][1]))[0]) == pytest.approx(by_metric, rel=1e-9)
    assert torch.allclose(mapped @ covariance @ mapped, wanted, atol=1e-9)  # carries one to the other,
    assert torch.allclose(mapped, mapped.T, atol=1e-12) and torch.linalg.eigvalsh(mapped).min() > 0  # as a gradient
    moved = float(((torch.eye(5) - mapped) @ covariance @ (torch.eye(5) - mapped)).trace())
    assert float(distance) == pytest.approx(float((mean - real).square().sum()) + moved, rel=1e-9)


def published(mean: Tensor, second: Tensor, space: Space) -> Tensor:
    """FD of blended moments as printed, by autograd through the eigenvalues."""
    half = root(space.covariance)
    covariance = second - mean.outer(mean)
    values = torch.linalg.eigvalsh(half @ covariance @ half).clamp_min(0)
    return (mean - space.mean).square().sum() + (covariance + space.covariance).trace() - 2 * values.sqrt().sum()


def endpoints(run: FDLoss, indices: list[int]) -> Tensor:
    """One sample at a time; the graph starts before the last `truncate` steps."""
    s, found = run.settings, []
    for i in indices:
        x, y = run.path_noise([i]).next(), run.labels([i])
        for k in range(s.sampler_steps):
            with torch.set_grad_enabled(k >= s.sampler_steps - s.truncate):
                x = x + run.policy.velocity(x, torch.tensor([k / s.sampler_steps]), y) / s.sampler_steps
        found.append(x)
    return (torch.cat(found) + 1) / 2


def looked_on(run: FDLoss, found: list[Tensor], step: Callable[[], dict[str, float]]) -> dict[str, float]:
    """An update whose gradients are kept."""
    assert run.updater.gradients is not None
    found.extend(g.clone() for g in run.updater.gradients)
    return step()


@pytest.mark.parametrize("extra", [{}, {"truncate": 4}, {"micro_batch": 3, "rollout_batch": 5}, {"decay": 0.0}])
def test_the_gradient_is_that_of_the_published_loss(extra: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    run = build("fd-loss", warmup=0, gradient_clip=None, **extra)
    assert isinstance(run, FDLoss)
    s, spaces = run.settings, own_arguments("fd-loss")["spaces"]
    with torch.no_grad():
        population = endpoints(run, list(range(s.population)))
    kept = [(z.mean(0), z.T @ z / len(z)) for z in (p.encode(population).double() for p in spaces)]  # type: ignore[attr-defined] # a list
    for update in range(2):
        images = endpoints(run, [s.population + update * s.batch + i for i in range(s.batch)])
        loss, distances = torch.zeros(()), []
        for i, space in enumerate(spaces):  # type: ignore[arg-type, var-annotated] # as above
            z = space.encode(images).double()
            own = (z.mean(0), z.T @ z / len(z))
            mean, second = (s.decay * m.detach() + (1 - s.decay) * b for m, b in zip(kept[i], own, strict=True))
            kept[i] = mean, second
            distance = published(mean, second, space)
            distances.append(float(distance.detach()))
            loss = loss + distance / distance.detach()
        expected = torch.autograd.grad(loss, run.updater.parameters, allow_unused=True)
        found: list[Tensor] = []
        monkeypatch.setattr(run.updater, "step", partial(looked_on, run, found, run.updater.step))
        row = run.step()
        monkeypatch.undo()
        biggest = max(float(g.abs().max()) for g in expected if g is not None)
        assert biggest > 0
        for mine, theirs in zip(found, expected, strict=True):
            if theirs is not None:
                assert torch.allclose(mine, theirs, rtol=1e-3, atol=2e-4 * biggest)
        assert [row["fd/pixels"], row["fd/waves"]] == pytest.approx(distances, rel=1e-4)
        assert row["loss"] == pytest.approx(sum(distances), rel=1e-4)


class Affine(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.eye(3) * 0.1), nn.Parameter(torch.zeros(3))


class AffineModel(VelocityModel):
    """Velocity A x + b on R^3, the same at all times."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.autoencoder = Affine(), IdentityAutoencoder()
        self.latent_shape, self.num_classes = (1, 1, 3), 1

    def velocity(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        return (x.flatten(1) @ self.net.scale.T + self.net.shift).view_as(x)


@pytest.mark.parametrize(("steps", "decay"), [(1, 0.0), (1, 0.9), (4, 0.9)])
def test_a_linear_sampler_ends_at_the_real_mean_and_covariance(steps: int, decay: float) -> None:
    """Its samples are Gaussian, so FD is zero there and only there."""
    mean, covariance = gaussian(2, 3)
    space = Space("plane", lambda x: x.flatten(1), mean, covariance)
    settings = {
        **{"batch": 512, "learning_rate": 3e-2, "warmup": 0, "population": 4096, "decay": decay, "ema": 0.9},
        **{"sampler_steps": steps, "truncate": steps},
    }
    base = AffineModel()
    run = FDLoss(base, shadow(base), None, None, settings, 0, [space])
    rows = []
    for i in range(360):
        if i == 240:
            run.updater.settings = run.settings.model_copy(update={"learning_rate": 3e-3})
        rows.append(run.step())
    a, b = (p.detach().double() / steps for p in run.finished_policy().net.parameters())
    whole, shift = torch.eye(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    for _ in range(steps):
        whole, shift = whole + a @ whole, shift + a @ shift + b
    assert rows[0]["loss"] > 1
    assert torch.allclose(shift, mean, atol=0.1)
    assert torch.allclose(whole @ whole.T, covariance, atol=0.15 * float(covariance.diagonal().max()))


def test_moments_start_at_the_population_and_come_back_with_a_checkpoint() -> None:
    run, again = build("fd-loss"), build("fd-loss")
    assert isinstance(run, Learner) and not [k for k in run.state_dict() if k.startswith("own/")]
    run.step()
    again.load_state_dict({k: v.clone() for k, v in run.state_dict().items()})
    assert run.step() == again.step()


def test_it_needs_a_space() -> None:
    with pytest.raises(UserError, match="looks through at least one"):
        FDLoss(AffineModel(), AffineModel(), None, None, {}, 0)


SUITE = """\
suite: tiny
data: {kind: digits}
encoders: {pix: {kind: pixels}, dae: {kind: small-dae, steps: 2}}
spaces: [pix, dae]
backbones: {sit: {family: sit, pretrain: {steps: 5}}}
algorithms:
  fd: {kind: fd-loss, updates: 2, batch: 8, population: 16, sampler_steps: 3, encoders: [dae], watch: {every: 2}}
runs: {fd: {algorithm: fd, rounds: 2}}
sampling: {steps: 4, n: 20}
metrics: [fd]
"""


def test_a_suite_gives_it_encoders_and_the_real_moments(tmp_path: Path) -> None:
    (tmp_path / "suite.yaml").write_text(SUITE)
    graph = lay_out(load_suite(tmp_path / "suite.yaml"))
    first, second = [n for n in graph.nodes.values() if n.kind == "finetune"]
    assert {"encoder:dae", "reference:dae"} <= set(first.inputs) and first.settings["spaces"] == ["dae"]
    assert second.inputs["start"] == ("finetune", first.key)
    assert first.settings["watch"]["spaces"] == ["pix"]  # what it looks through is not held out


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (" encoders: [dae],", "", "fd-loss looks through at least one of `encoders`"),
        ("encoders: [dae],", "encoders: [ade],", "unknown encoder 'ade'"),
        ("fd-loss, updates: 2, batch: 8, population: 16, sampler_steps: 3", "sft, updates: 2", "sft takes no encoders"),
    ],
)  # fmt: skip
def test_encoders_of_an_algorithm_are_checked(old: str, new: str, told: str, tmp_path: Path) -> None:
    assert old in SUITE
    (tmp_path / "suite.yaml").write_text(SUITE.replace(old, new))
    with pytest.raises(UserError, match=told):
        load_suite(tmp_path / "suite.yaml")
