"""Each rival's first updates against its published formula, written out as loops over endpoints and times."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from finetune_models import TinyModel, quadratic_reward
from torch import Tensor

from drlbench.errors import UserError
from drlbench.finetune.awm import AWM
from drlbench.finetune.draft import DRaFT
from drlbench.finetune.endpoints import EndpointLearner
from drlbench.finetune.flow_grpo import FlowGRPO
from drlbench.finetune.learner import Learner
from drlbench.finetune.nft import NFT
from drlbench.finetune.ram import RAM
from drlbench.finetune.rwm import RWM

COMMON = {"endpoints": 12, "batch": 12, "group": 4, "sampler_steps": 5, "learning_rate": 1e-2, "warmup": 0}


def kicked(size: float = 0.1) -> TinyModel:
    """The tiny model, moved away from its reference."""
    model = TinyModel()
    with torch.no_grad():
        for i, p in enumerate(model.net.parameters()):
            p.add_(size * torch.randn(p.shape, generator=torch.Generator().manual_seed(i)))
    return model


def build(kind: type[Learner], **extra: object) -> Learner:
    return kind(kicked(), TinyModel(), quadratic_reward(), None, COMMON | extra, 3)


def gradient_of_step(run: Learner) -> tuple[list[Tensor], dict[str, float]]:
    seen: list[Tensor] = []
    apply = run.updater.step

    def spy() -> dict[str, float]:
        assert run.updater.gradients is not None
        seen.extend(g.clone() for g in run.updater.gradients)
        return apply()

    run.updater.step = spy  # type: ignore[method-assign] # looks on from outside
    row = run.step()
    run.updater.step = apply  # type: ignore[method-assign] # and leaves again
    return seen, row


def assert_same_gradient(found: list[Tensor], loss: Tensor, model: TinyModel) -> None:
    expected = torch.autograd.grad(loss, list(model.net.parameters()), allow_unused=True)
    biggest = max(float(g.abs().max()) for g in expected if g is not None)
    assert biggest > 0
    for mine, theirs in zip(found, expected, strict=True):
        if theirs is not None:
            assert torch.allclose(mine, theirs, rtol=1e-3, atol=1e-5 * biggest)


def call(model: TinyModel, x: Tensor, t: float, y: Tensor) -> Tensor:
    """Velocity at one point: x (1, 2, 2)."""
    return model.velocity(x[None], torch.tensor([t]), y.reshape(1))[0]


def euler_endpoint(model: TinyModel, x: Tensor, y: Tensor, steps: int) -> Tensor:
    for k in range(steps):
        x = x + call(model, x, k / steps, y).detach() / steps
    return x


def check_endpoints(run: EndpointLearner[Any], model: TinyModel) -> None:
    """Endpoints are Euler's from the indices' noise, in groups of one class, scored after decoding."""
    steps = run.settings.sampler_steps
    noise = run.path_noise(run.order.own).next()
    for place, i in enumerate(run.order.own):
        y = run.labels([i // run.settings.group])[0]
        assert run.y[place] == y
        x = euler_endpoint(model, noise[place], y, steps)
        assert torch.allclose(run.x1[place], x, atol=1e-5)
        score = quadratic_reward()((x[None] + 1) / 2, y[None])[0]
        assert run.rewards[i] == pytest.approx(float(score), abs=1e-4)


def noised(
    run: EndpointLearner[Any], times: Tensor, update: int = 0
) -> Iterator[tuple[int, Tensor, Tensor, Tensor, float, Tensor]]:
    """Yield (index, x1, u, xt, t, y) for each endpoint and time of an update of the first draw."""
    places, positions = run.order.pick(update, lambda turn, stratum: run.generator(3, 1, turn, stratum))
    noise = run.drawn("normal", (12, times.shape[1], 1, 2, 2), update, 0)
    for place, position in zip(places.tolist(), positions.tolist(), strict=True):
        for j in range(times.shape[1]):
            t, x1, x0 = float(times[position, j]), run.x1[place], noise[position, j]
            yield run.order.own[place], x1, x1 - x0, t * x1 + (1 - t) * x0, t, run.y[place]


def raw_advantage(run: EndpointLearner[Any], i: int, lam: float) -> float:
    group = [j for j in range(12) if j // 4 == i // 4 and j != i]
    return lam * float(run.rewards[i] - run.rewards[group].mean())


def standard_advantage(run: EndpointLearner[Any], i: int) -> float:
    group = [j for j in range(12) if j // 4 == i // 4]
    return float((run.rewards[i] - run.rewards[group].mean()) / (run.rewards.std() + 1e-4))


def stratified(run: EndpointLearner[Any], times: int, update: int = 0) -> Tensor:
    return (torch.arange(times) + run.drawn("uniform", (12, times), update, 1)) / times


def test_ram() -> None:
    run = build(RAM, times=3, **{"lambda": 0.7})
    found, row = gradient_of_step(run)
    model, base = kicked(), TinyModel()
    check_endpoints(run, model)
    loss = torch.zeros(())
    for i, _, u, xt, t, y in noised(run, stratified(run, 3)):
        v = call(model, xt, t, y)
        target = call(base, xt, t, y) + raw_advantage(run, i, 0.7) * (u - v)
        loss = loss + (v - target.detach()).square().mean() / 36
    assert row["loss"] == pytest.approx(loss.item(), rel=1e-4)
    assert_same_gradient(found, loss, model)


@pytest.mark.parametrize("weighting", ["uniform", "noise", "noise-squared", "ghuber"])
def test_awm(weighting: str) -> None:
    """On the first update the ratio is 1 in value, and its gradient is that of the likelihood."""
    run = build(AWM, times=2, weighting=weighting, kl_weight=0.01)
    found, row = gradient_of_step(run)
    model, base, start = kicked(), TinyModel(), kicked()
    loss = torch.zeros(())
    for i, _, u, xt, t, y in noised(run, stratified(run, 2)):
        v, noise = call(model, xt, t, y), 1 - t
        error = (v - u).square().mean()
        weighted = {
            "uniform": error,
            "noise": noise * error,
            "noise-squared": noise**2 * error,
            "ghuber": noise / 0.25 * ((error + 1e-4) ** 0.25 - 1e-4**0.25),
        }[weighting]
        ratio = torch.exp(-weighted + weighted.detach())
        a = max(-5.0, min(5.0, standard_advantage(run, i))) / 5
        policy = torch.maximum(-a * ratio, -a * ratio.clamp(0.0, 2.0))
        kl = (v - call(base, xt, t, y).detach()).square().mean()
        anchor = (v - call(start, xt, t, y).detach()).square().mean()
        loss = loss + (policy + 0.01 * kl + anchor) / 24
    assert row["loss"] == pytest.approx(loss.item(), rel=1e-3, abs=1e-6)
    assert_same_gradient(found, loss, model)


def test_awms_ratio_is_against_the_policy_that_drew_and_is_clipped() -> None:
    """On the second update of a draw the ratio is no longer 1; where the clip holds, only KL and anchor are left."""
    extra = {"weighting": "uniform", "kl_weight": 0.01, "clip_range": 0.05, "learning_rate": 5e-2}
    run = build(AWM, times=2, passes=2, **extra)
    assert isinstance(run, AWM)
    run.step()
    model = kicked()
    model.load_state_dict(run.policy.state_dict())
    found, row = gradient_of_step(run)
    drew, base, loss = kicked(), TinyModel(), torch.zeros(())
    clipped = 0
    for i, _, u, xt, t, y in noised(run, stratified(run, 2, 1), 1):
        v, before = call(model, xt, t, y), call(drew, xt, t, y).detach()
        ratio = torch.exp((before - u).square().mean() - (v - u).square().mean())
        a = max(-5.0, min(5.0, standard_advantage(run, i))) / 5
        bound = 1.05 if a > 0 else 0.95
        if (a > 0 and ratio > bound) or (a < 0 and ratio < bound):
            ratio, clipped = torch.tensor(bound), clipped + 1
        kl = (v - call(base, xt, t, y).detach()).square().mean()
        loss = loss + (-a * ratio + 0.01 * kl + (v - before).square().mean()) / 24
    assert 0 < clipped < 24
    assert row["loss"] == pytest.approx(loss.item(), rel=1e-3, abs=1e-6)
    assert_same_gradient(found, loss, model)


def test_awm_keeps_the_old_policy_over_a_draw_and_moves_its_anchor() -> None:
    run = build(AWM, times=2, passes=3)
    assert isinstance(run, AWM) and run.old is not None and run.anchor is not None
    run.step()
    first = [p.clone() for p in run.old.parameters]
    start = [p.detach().clone() for p in kicked().net.parameters()]
    assert all(torch.equal(p, q) for p, q in zip(first, start, strict=True))
    run.step()
    run.step()
    moved = [p.detach().clone() for p in run.updater.parameters]
    run.step()
    for old, anchor, new, before in zip(run.old.parameters, run.anchor.parameters, moved, start, strict=True):
        assert torch.equal(old, new)
        assert torch.allclose(anchor, 0.3 * before + 0.7 * new, atol=1e-6)


@pytest.mark.parametrize("b", [1.0, 0.1])
def test_nft(b: float) -> None:
    run = build(NFT, guidance=b, kl_weight=0.01)
    assert isinstance(run, NFT)
    with torch.no_grad():  # let the old policy differ from the new one
        for p in run.old.parameters:
            p.mul_(0.9)
    older = kicked()
    older.net.load_state_dict(run.old.model.net.state_dict())
    found, row = gradient_of_step(run)
    check_endpoints(run, older)
    model, base = kicked(), TinyModel()
    times = torch.tensor([0.0, 0.2, 0.4, 0.6]).expand(12, -1)  # four of the rollout's five
    loss = torch.zeros(())
    for i, x1, _, xt, t, y in noised(run, times):
        v, old = call(model, xt, t, y), call(older, xt, t, y).detach()
        r = max(-5.0, min(5.0, standard_advantage(run, i))) / 10 + 0.5
        part = torch.zeros(())
        for share, mixed in ((r, b * v + (1 - b) * old), (1 - r, (1 + b) * old - b * v)):
            error = xt + (1 - t) * mixed - x1
            part = part + share / b * (error.square().mean() / error.detach().abs().mean())
        kl = (v - call(base, xt, t, y).detach()).square().mean()
        loss = loss + (5 * part + 0.01 * kl) / 48
    assert row["loss"] == pytest.approx(loss.item(), rel=1e-4)
    assert_same_gradient(found, loss, model)


def test_nfts_old_policy_follows_by_its_schedule() -> None:
    run = build(NFT, decay_rate=0.2, decay_limit=0.5)
    assert isinstance(run, NFT)
    old = [p.clone() for p in run.old.parameters]
    for n in range(1, 5):
        run.step()
        d = min(0.2 * n, 0.5)
        old = [d * o + (1 - d) * p.detach() for o, p in zip(old, run.updater.parameters, strict=True)]
        for mine, theirs in zip(run.old.parameters, old, strict=True):
            assert torch.allclose(mine, theirs, atol=1e-6)


def test_rwm() -> None:
    run = build(RWM, times=2, **{"lambda": 1.5})
    found, row = gradient_of_step(run)
    check_endpoints(run, TinyModel())  # the base's samples
    model = kicked()
    classes = [int(run.labels([i // 4])[0]) for i in range(12)]
    weights = []
    for i in range(12):
        total = sum(math.exp(1.5 * float(run.rewards[j])) for j in range(12) if classes[j] == classes[i])
        weights.append(math.exp(1.5 * float(run.rewards[i])) / total * classes.count(classes[i]))
    loss = torch.zeros(())
    for i, _, u, xt, t, y in noised(run, stratified(run, 2)):
        loss = loss + weights[i] * (call(model, xt, t, y) - u).square().mean() / 24
    assert row["loss"] == pytest.approx(loss.item(), rel=1e-4)
    share = sum(weights) ** 2 / (12 * sum(w**2 for w in weights))
    assert row["effective_sample_share"] == pytest.approx(share, rel=1e-4)
    assert_same_gradient(found, loss, model)


def grpo_states(run: FlowGRPO, model: TinyModel) -> Tensor:
    """Independent rollout of the published SDE in its own time tau = 1 - t, noise at 1, v_n = -v."""
    eta, dt = run.settings.eta, 1 / 5
    noise = run.path_noise(run.order.own)
    x = noise.next()
    states = [x]
    for k in range(5):
        tau = 1 - k * dt
        s2 = eta**2 * tau / (1 - tau) if k else eta**2 * tau / (1 - (1 - dt))
        v_n = -model.velocity(x, torch.full((12,), k * dt), run.y).detach()
        mean = x * (1 - s2 * dt / (2 * tau)) - v_n * (1 + s2 * (1 - tau) / (2 * tau)) * dt
        x = mean + math.sqrt(s2 * dt) * noise.next()
        states.append(x)
    return torch.stack(states)


def test_flow_grpo_as_published() -> None:
    run = build(FlowGRPO, kl_weight=0.04)
    assert isinstance(run, FlowGRPO)
    found, row = gradient_of_step(run)
    model, base, dt = kicked(), TinyModel(), 0.2
    states = grpo_states(run, model)
    assert torch.allclose(run.states, states, atol=1e-5)
    loss = torch.zeros(())
    for k in range(4):  # int(0.99 * 5)
        tau = 1 - k * dt
        s2 = 0.49 * tau / (1 - tau) if k else 0.49 / dt
        for place, i in enumerate(run.order.own):
            x, y = states[k, place], run.y[place]

            def mean_of(
                net: TinyModel, x: Tensor = x, y: Tensor = y, k: int = k, tau: float = tau, s2: float = s2
            ) -> Tensor:
                v_n = -call(net, x, k * dt, y)
                return x * (1 - s2 * dt / (2 * tau)) - v_n * (1 + s2 * (1 - tau) / (2 * tau)) * dt

            mean = mean_of(model)
            log_p = -(states[k + 1, place] - mean).square().mean() / (2 * s2 * dt)
            ratio = torch.exp(log_p - log_p.detach())
            a = max(-5.0, min(5.0, standard_advantage(run, i)))
            policy = torch.maximum(-a * ratio, -a * ratio.clamp(1 - 1e-4, 1 + 1e-4))
            kl = (mean - mean_of(base).detach()).square().mean() / (2 * s2)
            loss = loss + (policy + 0.04 * kl) / 48
    assert row["loss"] == pytest.approx(loss.item(), rel=1e-3, abs=1e-5)
    assert_same_gradient(found, loss, model)


def test_flow_grpos_ratio_is_against_the_policy_that_drew_and_is_clipped() -> None:
    run = build(FlowGRPO, passes=2, clip_range=0.02, kl_weight=0.04, learning_rate=3e-2)
    assert isinstance(run, FlowGRPO)
    run.step()
    model = kicked()
    model.load_state_dict(run.policy.state_dict())
    found, row = gradient_of_step(run)
    drew, base, dt, clipped, loss = kicked(), TinyModel(), 0.2, 0, torch.zeros(())
    for k in range(4):
        tau = 1 - k * dt
        s2 = 0.49 * tau / (1 - tau) if k else 0.49 / dt
        for place, i in enumerate(run.order.own):
            x, y = run.states[k, place], run.y[place]
            v, ref, before = (call(net, x, k * dt, y) for net in (model, base, drew))
            keep, drive = 1 - s2 * dt / (2 * tau), (1 + s2 * (1 - tau) / (2 * tau)) * dt
            log_p, log_old = (
                -(run.states[k + 1, place] - keep * x - drive * w).square().mean() / (2 * s2 * dt) for w in (v, before)
            )
            ratio = torch.exp(log_p - log_old.detach())
            a = max(-5.0, min(5.0, standard_advantage(run, i)))
            bound = 1.02 if a > 0 else 0.98
            if (a > 0 and ratio > bound) or (a < 0 and ratio < bound):
                ratio, clipped = torch.tensor(bound), clipped + 1
            kl = (drive * (v - ref.detach())).square().mean() / (2 * s2)
            loss = loss + (-a * ratio + 0.04 * kl) / 48
    assert 0 < clipped < 48
    assert row["loss"] == pytest.approx(loss.item(), rel=1e-3, abs=1e-5)
    assert_same_gradient(found, loss, model)


def test_flow_grpo_memoryless() -> None:
    run = build(FlowGRPO, variant="memoryless", **{"lambda": 0.8})
    assert isinstance(run, FlowGRPO)
    found, _ = gradient_of_step(run)
    model, base, table = kicked(), TinyModel(), run.table
    kl = torch.zeros(4, 12)
    for k in range(4):
        t = torch.full((12,), k / 5)
        gap = model.velocity(run.states[k], t, run.y) - base.velocity(run.states[k], t, run.y)
        kl[k] = table.drive[k] ** 2 * gap.detach().flatten(1).square().sum(1) / (2 * table.spread[k] ** 2)
    loss = torch.zeros(())
    for k in range(4):
        returns = 0.8 * run.rewards - torch.stack([kl[j] for j in range(k + 1, 4)] or [torch.zeros(12)]).sum(0)
        for place, i in enumerate(run.order.own):
            others = [j for j in range(12) if j // 4 == i // 4 and j != i]
            a = float(returns[i] - returns[others].mean())
            x, y = run.states[k, place], run.y[place]
            v = call(model, x, k / 5, y)
            mean = table.keep[k] * x + table.drive[k] * v
            log_p = -(run.states[k + 1, place] - mean).square().sum() / (2 * table.spread[k] ** 2)
            step_kl = (table.drive[k] * (v - call(base, x, k / 5, y).detach())).square().sum() / (
                2 * table.spread[k] ** 2
            )
            loss = loss + (-a * log_p + step_kl) / 48
    assert_same_gradient(found, loss, model)


def test_draft_is_the_gradient_through_the_last_steps() -> None:
    run = build_draft(truncate=2)
    found, row = gradient_of_step(run)
    model = kicked()
    y, x = run.labels(range(6)), run.path_noise(range(6)).next()
    for k in range(5):
        v = model.velocity(x, torch.full((6,), k / 5), y)
        x = x + (v if k >= 3 else v.detach()) / 5
    reward = quadratic_reward()((x + 1) / 2, y).mean()
    assert row["reward"] == pytest.approx(reward.item(), rel=1e-4)
    assert_same_gradient(found, -2.0 * reward, model)


def build_draft(**extra: object) -> DRaFT:
    settings = {"batch": 6, "sampler_steps": 5, "learning_rate": 1e-2, "lambda": 2.0} | extra
    return DRaFT(kicked(), TinyModel(), quadratic_reward(), None, settings, 3)


@pytest.mark.parametrize("kind", [RAM, AWM, NFT, RWM, FlowGRPO])
def test_chunks_do_not_change_the_update(kind: type[Learner]) -> None:
    whole, small = build(kind), build(kind, micro_batch=5, rollout_batch=3)
    for _ in range(3):
        one, other = whole.step(), small.step()
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-3, abs=1e-5)
        assert other["gradient_norm"] == pytest.approx(one["gradient_norm"], rel=1e-3)


def test_groups_must_fit() -> None:
    with pytest.raises(UserError, match=r"ram: endpoints \(12\) must be a multiple of group \(5\)"):
        build(RAM, group=5)
