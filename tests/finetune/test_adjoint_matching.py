"""Adjoint matching against closed forms, and against a loop that follows the paper line by line."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from finetune_models import FunctionReward, MixtureModel, TinyModel, quadratic_reward

from drlbench.errors import UserError
from drlbench.finetune.adjoint_matching import AdjointMatching
from drlbench.finetune.learner import shadow

PLAIN = {"outlier_quantile": None, "warmup": 20, "ema": 0.98, "buffer": 512, "batch": 256, "passes": 4}


def endpoints(model: MixtureModel, steps: int = 25, n: int = 20000) -> torch.Tensor:
    """ODE samples (n,) by the midpoint rule; each is within 0.001 of where four times as many steps take it."""
    x = model.noise_scale * torch.randn(n, *model.latent_shape, generator=torch.Generator().manual_seed(0))
    y = torch.zeros(n, dtype=torch.int64)
    with torch.no_grad():
        for k in range(steps):
            middle = x + model.velocity(x, torch.full((n,), k / steps), y) / (2 * steps)
            x = x + model.velocity(middle, torch.full((n,), (k + 0.5) / steps), y) / steps
    return x.flatten()


def tilted(base: MixtureModel, reward: FunctionReward, lam: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Grid (G,) and probabilities (G,) of p_base exp(lambda r)/Z, by quadrature."""
    grid = torch.linspace(-8, 8, 8001)
    log_p = base.log_density(grid[:, None]) + lam * reward(grid[:, None], None).detach()
    return grid, log_p.softmax(0)


def apart(x: torch.Tensor, grid: torch.Tensor, p: torch.Tensor) -> float:
    """Largest difference between the distribution function of samples x (n,) and that of the law p on the grid."""
    x = x.sort().values
    below = np.interp(x.numpy(), grid.numpy(), p.double().cumsum(0).numpy())
    return float(np.abs(below - (np.arange(len(x)) + 0.5) / len(x)).max())


def fine_tune(base: MixtureModel, reward: FunctionReward, lam: float, updates: int, **extra: object) -> MixtureModel:
    torch.manual_seed(0)
    settings = PLAIN | {"lambda": lam, "steps": 20, "learning_rate": 5e-3} | extra
    run = AdjointMatching(copy.deepcopy(base), shadow(base), reward, None, settings, seed=0)
    for i in range(updates):
        if i == updates // 2:
            run.updater.settings = run.settings.model_copy(update={"learning_rate": 1e-3})
        run.step()
    return run.finished_policy()


@pytest.mark.parametrize("lam", [0.5, 2.0])
def test_gaussian_endpoint_is_the_tilted_gaussian(lam: float) -> None:
    """N(m, s^2) exp(lambda (b x - c x^2)) is Gaussian: precision 1/s^2 + 2 lambda c. Stated error at K = 20: 0.03 in
    mean, deviation and distribution function, where 20,000 samples of the law itself are off by 0.01."""
    torch.manual_seed(0)
    base = MixtureModel(torch.tensor([[0.5]]), 0.8, torch.ones(1))
    b, c = 0.7, 0.3
    reward = FunctionReward(lambda x: b * x[:, 0] - c * x[:, 0] ** 2)
    x = endpoints(fine_tune(base, reward, lam, 450))
    precision = 1 / 0.8**2 + 2 * lam * c
    mean = (0.5 / 0.8**2 + lam * b) / precision
    assert float(x.mean()) == pytest.approx(mean, abs=0.03)
    assert float(x.std()) == pytest.approx(precision**-0.5, abs=0.03)
    assert apart(x, *tilted(base, reward, lam)) < 0.03


@pytest.mark.parametrize(
    ("lam", "updates", "error"),
    [(1.0, 450, 0.06), (2.0, 450, 0.09), pytest.param(2.0, 1500, 0.03, marks=pytest.mark.long)],
)
def test_two_modes_with_a_known_log_ratio(lam: float, updates: int, error: float) -> None:
    """r = log q/p_base: lambda = 1 must give q itself.

    Stated error at K = 20: 0.03 in mass, 0.06 in mean and `error` in the distribution function. Measured there 0.016,
    0.043, 0.067 after 450 updates: what is missing is training, not steps. 1,500 updates bring lambda = 2 to 0.017, and
    the SDE under the optimal control itself is at 0.014 to 0.025.
    """
    torch.manual_seed(0)
    means = torch.tensor([[-1.0], [1.0]])
    base = MixtureModel(means, 0.6, torch.tensor([0.5, 0.5]))
    data = MixtureModel(means, 0.6, torch.tensor([0.75, 0.25]))
    reward = FunctionReward(lambda x: data.log_density(x) - base.log_density(x))
    grid, p = tilted(base, reward, lam)
    x = endpoints(fine_tune(base, reward, lam, updates))
    assert float((x > 0).float().mean()) == pytest.approx(float(p[grid > 0].sum()), abs=0.03)
    assert float(x.mean()) == pytest.approx(float((p * grid).sum()), abs=0.06)
    assert apart(x, grid, p) < error


def test_noise_scale_two_reaches_the_same_optimum() -> None:
    torch.manual_seed(0)
    base = MixtureModel(torch.tensor([[0.5]]), 0.8, torch.ones(1), noise_scale=2.0)
    reward = FunctionReward(lambda x: 0.7 * x[:, 0])
    x = endpoints(fine_tune(base, reward, 1.0, 200, steps=60))  # error O(1/K): 1.019, 0.974, 0.952 at 20, 40, 80
    assert float(x.mean()) == pytest.approx(0.5 + 0.7 * 0.64, abs=0.03)
    assert float(x.std()) == pytest.approx(0.8, abs=0.04)


def build(**extra: object) -> AdjointMatching:
    settings = {"steps": 6, "buffer": 16, "batch": 8, "passes": 2, "learning_rate": 1e-2, "warmup": 0} | extra
    return AdjointMatching(TinyModel(), TinyModel(), quadratic_reward(), None, settings, seed=3)


def gradient_of_step(run: AdjointMatching) -> tuple[list[torch.Tensor], dict[str, float]]:
    """The gradient that the next update applies, and its log row."""
    seen: list[torch.Tensor] = []
    original = run.updater.step

    def spy() -> dict[str, float]:
        assert run.updater.gradients is not None
        seen.extend(g.clone() for g in run.updater.gradients)
        return original()

    run.updater.step = spy  # type: ignore[method-assign] # looks on from outside
    return seen, run.step()


def test_one_update_has_the_gradient_the_paper_writes() -> None:
    """Loop over trajectories and timesteps, v_base evaluated afresh, loss as printed, gradient by autograd."""
    run = build(timestep_fraction=1.0, outlier_quantile=None, batch=16)
    run.updater.settings = run.settings.model_copy(update={"gradient_clip": None})
    policy, base = TinyModel(), TinyModel()
    with torch.no_grad():  # an untrained policy equals its reference; move it so that the control is not zero
        for p, q in zip(policy.net.parameters(), run.policy.net.parameters(), strict=True):
            kick = 0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel()))
            p.add_(kick)
            q.add_(kick)
    steps, dt, lam = 6, 1 / 6, run.settings.lam
    y = run.labels(range(16))
    noise = run.path_noise(range(16))
    u = [k * dt + dt for k in range(steps + 1)]
    x = [noise.next()]
    for k in range(steps):
        v = policy.velocity(x[k], torch.full((16,), k * dt), y).detach()
        if k == steps - 1:
            x.append(x[k] + dt * v)
            continue
        phi = u[k] / u[k + 1]
        variance = (1 + 2 * dt) * (1 - phi**2) - 2 / 3 * (u[k + 1] - phi**2 * u[k])
        x.append(phi * x[k] + u[k + 1] * (1 - phi**2) * v + math.sqrt(variance) * noise.next())
    end = x[-1].clone().requires_grad_()
    reward = quadratic_reward()((end + 1) / 2, y).sum()
    a = -lam * torch.autograd.grad(reward, end)[0]
    loss = torch.zeros(())
    for k in reversed(range(steps)):
        point = x[k + 1].clone().requires_grad_()
        v = base.velocity(point, torch.full((16,), (k + 1) * dt), y)
        a = u[k] / u[k + 1] * (a + 2 * dt * torch.autograd.grad(v, point, a)[0])
        sigma = math.sqrt(2 * (1 - k * dt + dt) / u[k])
        now = torch.full((16,), k * dt)
        gap = policy.velocity(x[k], now, y) - base.velocity(x[k], now, y).detach()
        loss = loss + 0.5 * (2 / sigma * gap + sigma * a).square().sum() / 16
    expected = torch.autograd.grad(loss, list(policy.net.parameters()))
    seen, row = gradient_of_step(run)
    assert row["loss"] == pytest.approx(loss.item(), rel=1e-4)
    for mine, theirs in zip(seen, expected, strict=True):
        assert torch.allclose(mine, theirs, rtol=1e-3, atol=1e-5 * float(theirs.abs().max() + 1))


@pytest.mark.parametrize("integrator", ["local-linear", "euler"])
def test_the_first_gradient_is_that_of_the_reward_through_the_sde(integrator: str) -> None:
    """Where policy and base are one, control costs nothing to first order, so that d/dtheta of the regression times dt
    is d/dtheta of -lambda r(X_1) through every step of the SDE. The two discretisations differ by O(1/K): measured
    0.09, 0.047, 0.024 of the gradient's norm at K = 10, 20, 40 (Euler 0.11, 0.052, 0.026)."""
    gaps = []
    for steps in (10, 40):
        extra = {"steps": steps, "integrator": integrator, "lambda": 1.5, "buffer": 64, "batch": 64, "passes": 1}
        run = build(timestep_fraction=1.0, outlier_quantile=None, **extra)
        found, _ = gradient_of_step(run)
        policy, y, noise = TinyModel(), run.labels(range(64)), run.path_noise(range(64))
        x = noise.next()
        for k in range(steps):
            v = policy.velocity(x, torch.full((64,), k / steps), y)
            x = run.table.keep[k] * x + run.table.drive[k] * v
            x = x + run.table.spread[k] * noise.next() if run.table.spread[k] > 0 else x
        loss = -1.5 * quadratic_reward()((x + 1) / 2, y).mean()
        exact = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(policy.net.parameters()))])
        mine = torch.cat([g.flatten() for g in found]) / steps
        gaps.append(float((mine - exact).norm() / exact.norm()))
    assert gaps[0] < 0.13 and gaps[1] < 0.03


@pytest.mark.parametrize("quantile", [None, 0.75])
def test_chunks_do_not_change_the_update(quantile: float | None) -> None:
    whole = build(outlier_quantile=quantile)
    small = build(outlier_quantile=quantile, micro_batch=5, rollout_batch=3, reward_batch=2)
    masked = 0.0
    for _ in range(9):
        one, other = whole.step(), small.step()
        for key in one:
            assert other[key] == pytest.approx(one[key], rel=2e-3, abs=1e-5), key
        masked += one["masked"]
    assert (masked > 0) == (quantile is not None)


def test_memory_that_runs_out_halves_the_chunk_and_changes_nothing() -> None:
    whole, tight = build(), build()
    original, calls = tight.policy_velocity, []

    def limited(x: torch.Tensor, t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        calls.append(len(x))
        if len(x) > 10:
            raise torch.OutOfMemoryError("simulated")
        return original(x, t, y)

    tight.policy_velocity = limited
    for _ in range(4):
        one, other = whole.step(), tight.step()
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-3)
        assert other["gradient_norm"] == pytest.approx(one["gradient_norm"], rel=1e-3)
    assert max(calls) > 10
    assert tight.chunks.size is not None and tight.chunks.size <= 10


def test_low_rank_updates_train_alone_and_merge() -> None:
    run = build(lora_rank=2, lora_alpha=4.0)
    before = {k: v.clone() for k, v in TinyModel().net.state_dict().items()}
    for _ in range(4):
        run.step()
    merged = run.finished_policy()
    after = merged.net.state_dict()
    assert set(after) == set(before)
    x, t, y = torch.randn(5, 1, 2, 2), torch.rand(5), torch.tensor([0, 1, 2, 0, 1])
    assert torch.allclose(merged.velocity(x, t, y), run.policy.velocity(x, t, y), atol=1e-6)
    changed = {k for k in after if not torch.equal(after[k], before[k])}
    assert changed and all(k.endswith("weight") and "embed" not in k for k in changed)
    for k in changed:
        assert torch.linalg.matrix_rank(after[k] - before[k], rtol=1e-4) <= 2


def test_recomputed_activations_give_the_same_update() -> None:
    plain, lean = build(), build(activation_checkpointing=True)
    for _ in range(3):
        assert lean.step() == pytest.approx(plain.step(), rel=1e-5)
    lean.finished_policy()


def test_bf16_buffer_stays_close() -> None:
    exact, rounded = build(), build(buffer_dtype="bf16")
    for _ in range(3):
        assert rounded.step()["loss"] == pytest.approx(exact.step()["loss"], rel=0.05)
    assert rounded.buffer.x.dtype == torch.bfloat16


def test_bf16_forwards_stay_close_and_weights_stay_fp32() -> None:
    exact, rounded = build(), build(precision="bf16")
    for _ in range(3):
        assert rounded.step()["loss"] == pytest.approx(exact.step()["loss"], rel=0.1)
    assert all(p.dtype == torch.float32 for p in rounded.policy.net.parameters())
    assert rounded.buffer.x.dtype == torch.float32


@pytest.mark.long
def test_compiled_velocity_gives_the_same_updates() -> None:
    plain, compiled = build(), build(compile=True)
    for _ in range(4):
        assert compiled.step() == pytest.approx(plain.step(), rel=1e-3, abs=1e-5)


def test_bad_settings_are_named() -> None:
    with pytest.raises(UserError, match=r"unknown setting 'pases' .*'passes'"):
        build(pases=3)
    with pytest.raises(UserError, match=r"buffer \(12\) must be at least batch \(8\) and a multiple of 8"):
        build(buffer=12)
    with pytest.raises(UserError, match="adjoint-matching: lambda: input should be greater than 0"):
        build(**{"lambda": -1})
    with pytest.raises(UserError, match="adjoint-matching needs a reward"):
        AdjointMatching(TinyModel(), TinyModel(), None, None, {}, 0)
