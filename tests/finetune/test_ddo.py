"""Direct discriminative optimisation against its printed loss, and its optimum against quadrature in one dimension."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from finetune_models import FunctionReward, MixtureModel, TinyModel
from torch import Tensor

from drlbench.errors import UserError
from drlbench.finetune.ddo import DDO
from drlbench.finetune.learner import shadow
from drlbench.plan.pipeline import lay_out
from drlbench.suite.load import load_suite

START = (0.0, 1.0)  # mean and standard deviation of the reference
DATA = (0.7, 0.7)


def conditional(law: tuple[float, float], x: float, t: float) -> tuple[float, float, float]:
    """Density of X_t at x, and mean and standard deviation of u = X_1 - X_0 there, for X_1 ~ N(law), X_0 ~ N(0, 1)."""
    mean, std = law
    variance = (t * std) ** 2 + (1 - t) ** 2
    shared = t * std**2 - (1 - t)
    density = math.exp(-((x - t * mean) ** 2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)
    return density, mean + shared / variance * (x - t * mean), math.sqrt(std**2 + 1 - shared**2 / variance)


def optimum(x: float, t: float, alpha: float, beta: float) -> float:
    """The velocity that an unrestricted network ends at: the minimum over v of the loss at one (x, t)."""
    nodes, mass = np.polynomial.hermite_e.hermegauss(40)
    mass = mass / mass.sum()
    anchor = conditional(START, x, t)[1]
    v = np.linspace(-4, 5, 3601)[:, None]
    loss = np.zeros(len(v))
    for law, sign, weight in ((DATA, 1, 1.0), (START, -1, alpha)):
        density, mean, std = conditional(law, x, t)
        u = mean + std * nodes
        ratio = beta * ((anchor - u) ** 2 - (v - u) ** 2)
        loss += weight * density * (np.logaddexp(0, -sign * ratio) @ mass)
    return float(v[loss.argmin(), 0])


def test_the_optimum_is_the_one_of_quadrature() -> None:
    torch.manual_seed(0)
    base = MixtureModel(torch.tensor([[START[0]]]), START[1], torch.ones(1))
    data = DATA[0] + DATA[1] * torch.randn(20000, 1, 1, 1)
    settings = {"batch": 1024, "learning_rate": 1e-2, "ema": 0.98, "warmup": 20, "negatives": 4096, "beta": 0.3}
    run = DDO(copy.deepcopy(base), shadow(base), None, (data, torch.zeros(20000, dtype=torch.int64)), settings, 0)
    for i in range(300):
        if i == 200:
            run.updater.settings = run.settings.model_copy(update={"learning_rate": 1e-3})
        run.step()
    tuned = run.finished_policy()
    for t in (0.3, 0.6, 0.9):
        for x in (t * DATA[0] - 0.4, t * DATA[0], t * DATA[0] + 0.4):
            with torch.no_grad():
                v = tuned.velocity(torch.full((1, 1, 1, 1), x), torch.tensor([t]), torch.zeros(1, dtype=torch.int64))
            assert float(v) == pytest.approx(optimum(x, t, 1.0, 0.3), abs=0.12)
            # and that is apart from where it started
    assert abs(optimum(0.3, 0.5, 1.0, 0.3) - conditional(START, 0.3, 0.5)[1]) > 0.3


def kicked() -> TinyModel:
    model = TinyModel()
    with torch.no_grad():
        for i, p in enumerate(model.net.parameters()):
            p.add_(0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(i)))
    return model


def tiny(extra: dict[str, object], reward: FunctionReward | None = None) -> DDO:
    data = (torch.randn(12, 1, 2, 2, generator=torch.Generator().manual_seed(5)), torch.arange(12) % 3)
    settings = {"batch": 8, "negatives": 16, "sampler_steps": 4, "warmup": 0} | extra
    return DDO(kicked(), TinyModel(), reward, data, settings, 3)


def by_hand(run: DDO, weights: Tensor) -> float:
    """The loss of the next update, one row at a time."""
    s, b = run.settings, run.settings.batch
    assert run.data is not None
    visits = run._epoch_rows(list(range(b)))
    places, positions = run.order.pick(0, lambda turn, stratum: run.generator(2, 1, turn, stratum))
    total = 0.0
    for sign, x1, y, at, stream in [
        *((1, run.data[0][r], run.data[1][r], i, 0) for i, r in enumerate(visits.tolist())),
        *((-1, run.x1[p], run.y[p], int(q), 2) for p, q in zip(places.tolist(), positions, strict=True)),
    ]:
        x0 = run.drawn("normal", (b, 1, 2, 2), 0, stream)[at]
        t = run.drawn("uniform", (b,), 0, stream + 1)[at]
        xt, u = t * x1 + (1 - t) * x0, x1 - x0
        with torch.no_grad():
            errors = [
                float((m.velocity(xt[None], t[None], y[None])[0] - u).square().sum())
                for m in (run.reference, run.policy)
            ]
        weight = float(weights[visits[at]]) if sign > 0 else s.alpha
        total += weight * math.log1p(math.exp(-sign * s.beta * (errors[0] - errors[1]))) / b
    return total


@pytest.mark.parametrize("extra", [{}, {"alpha": 0.3, "beta": 0.7}, {"micro_batch": 3}])
def test_the_loss_is_the_printed_one(extra: dict[str, object]) -> None:
    run = tiny(extra)
    run._draw()
    expected = by_hand(run, torch.ones(12))
    assert run.step()["loss"] == pytest.approx(expected, rel=1e-5)


def test_a_reward_weighs_the_data_within_each_class() -> None:
    reward = FunctionReward(lambda x: 3 * x[:, 0])
    run = tiny({"lambda": 0.5}, reward)
    run._draw()
    assert run.data is not None
    scores = reward(run.policy.decode(run.data[0]), run.data[1])
    expected = torch.zeros(12)
    for c in range(3):
        own = run.data[1] == c
        raw = (0.5 * scores[own]).exp()
        expected[own] = raw / raw.mean()
    assert torch.allclose(run.weights, expected, rtol=1e-5)
    assert expected.std() > 0.1
    by = by_hand(run, expected)
    row = run.step()
    assert row["loss"] == pytest.approx(by, rel=1e-5)
    assert row["effective_sample_share"] == pytest.approx(float(expected.sum() ** 2 / (12 * expected.square().sum())))


def test_negatives_are_the_references_own_samples_in_balanced_classes() -> None:
    run = tiny({})
    run._draw()
    counts = torch.bincount(run.y, minlength=3)
    assert counts.max() - counts.min() <= 1
    x, y = run.path_noise([5]).next(), run.y[5:6]
    with torch.no_grad():
        for k in range(4):  # Heun, the last step by Euler
            slope = run.reference.velocity(x, torch.tensor([k / 4]), y)
            if k < 3:
                slope = (slope + run.reference.velocity(x + slope / 4, torch.tensor([(k + 1) / 4]), y)) / 2
            x = x + slope / 4
    assert torch.allclose(run.x1[5:6], x, atol=1e-6)


def test_negatives_fewer_than_a_batch_are_refused() -> None:
    with pytest.raises(UserError, match="negatives"):
        tiny({"negatives": 4})


ROUNDS = """\
suite: tiny
data: {kind: digits}
encoders: {pix: {kind: pixels}}
spaces: [pix]
backbones: {sit: {family: sit, pretrain: {steps: 5}}}
algorithms: {ddo: {kind: ddo, updates: 5}, sft: {kind: sft, updates: 5}}
runs: {ddo: {algorithm: ddo, rounds: 2}}
sampling: {steps: 4, n: 20}
metrics: [fd]
"""


def test_rounds_need_no_discriminator_where_the_objective_follows_the_start(tmp_path: Path) -> None:
    (tmp_path / "suite.yaml").write_text(ROUNDS)
    graph = lay_out(load_suite(tmp_path / "suite.yaml"))
    stages = [n for n in graph.nodes.values() if n.kind == "finetune"]
    assert stages[1].inputs["start"] == ("finetune", stages[0].key)
    (tmp_path / "suite.yaml").write_text(ROUNDS.replace("{algorithm: ddo, rounds", "{algorithm: sft, rounds"))
    with pytest.raises(UserError, match="rounds re-fit"):
        load_suite(tmp_path / "suite.yaml")
