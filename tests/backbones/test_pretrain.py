"""Flow-matching pretraining of small backbones."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from drlbench.backbones import create, wrap
from drlbench.backbones.base import VelocityModel
from drlbench.backbones.pretrain import PretrainSettings, flow_matching_loss, pretrain, sample_times
from drlbench.errors import IntegrityError, UserError
from drlbench.seeds import seeded
from drlbench.store import checkpoint


def model(family: str = "sit") -> VelocityModel:
    sizes: dict[str, object] = {"input_size": 4, "patch_size": 2, "in_channels": 1, "hidden_size": 8, "depth": 1}
    extra = {"sit": {"learn_sigma": False}, "jit": {"bottleneck_dim": 4, "in_context_len": 2, "in_context_start": 0}}
    with seeded(0):
        return wrap(create(family, num_heads=2, num_classes=2, **sizes, **extra[family]))


def two_points(count: int = 64) -> tuple[Tensor, Tensor]:
    """Class 0 is all -0.8, class 1 all +0.8: the velocity field is known."""
    y = torch.arange(count) % 2
    return (1.6 * y.float() - 0.8)[:, None, None, None].expand(-1, 1, 4, 4).clone(), y


QUICK = {"steps": 200, "batch": 64, "lr": 1e-2, "warmup": 20}


@pytest.mark.parametrize("family", ["sit", "jit"])
def test_it_learns_where_each_class_lies(family: str) -> None:
    m = model(family)
    floor = {"min_noise_level": 0.05, "time": "logit-normal"} if family == "jit" else {}
    log = pretrain(m, *two_points(), QUICK | floor, seed=1)
    assert log.series["loss"][-1] < 0.5 * log.series["loss"][0] and log.steps[-1] == 200
    x = torch.randn(32, 1, 4, 4, generator=torch.Generator().manual_seed(2))
    y = torch.arange(32) % 2
    for k in range(20):
        x = x + m.velocity(x, torch.full((32,), k / 20), y) / 20
    found = x.mean(dim=(1, 2, 3))
    assert (found[y == 1] > 0.2).all() and (found[y == 0] < -0.2).all()
    assert not any(p.requires_grad for p in m.parameters()) and not m.training


def test_same_seed_same_bits() -> None:
    first, second, third = model(), model(), model()
    short = QUICK | {"steps": 20}
    pretrain(first, *two_points(), short, seed=3)
    torch.rand(5)
    pretrain(second, *two_points(), short, seed=3)
    pretrain(third, *two_points(), short, seed=4)
    states = [list(m.state_dict().values()) for m in (first, second, third)]
    assert all(torch.equal(a, b) for a, b in zip(states[0], states[1], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(states[0], states[2], strict=True))


class Killed(Exception):
    """Stands for whatever ends a training between two steps."""


@pytest.mark.parametrize("family", ["sit", "jit"])
def test_a_killed_training_is_taken_up_exactly(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "LEAST", 0.0)
    monkeypatch.setattr(checkpoint, "SPARING", 0)
    settings = QUICK | {"steps": 450}
    whole, told = model(family), []
    log = pretrain(whole, *two_points(), settings, seed=3)

    def stop(done: float) -> None:
        told.append(done)
        if done == 300 / 450:
            raise Killed

    with pytest.raises(Killed):
        pretrain(model(family), *two_points(), settings, 3, progress=stop, checkpoint_dir=tmp_path)
    told.clear()
    resumed = model(family)
    assert pretrain(resumed, *two_points(), settings, 3, None, told.append, tmp_path) == log
    assert told == [300 / 450, 400 / 450, 1.0], "what was kept after 200 steps is not done again"
    pairs = zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_a_checkpoint_that_is_damaged_or_anothers_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "LEAST", 0.0)
    monkeypatch.setattr(checkpoint, "SPARING", 0)
    pretrain(model(), *two_points(), QUICK, 3, checkpoint_dir=tmp_path)
    with pytest.raises(IntegrityError, match="other settings"):
        pretrain(model(), *two_points(), QUICK, 4, checkpoint_dir=tmp_path)
    (state,) = tmp_path.glob("state-*")
    state.write_bytes(state.read_bytes()[:-1] + b"?")
    with pytest.raises(IntegrityError, match="does not match its checksum"):
        pretrain(model(), *two_points(), QUICK, 3, checkpoint_dir=tmp_path)


class Exact(VelocityModel):
    """The true velocity of one data point, for which the loss must vanish."""

    def __init__(self, point: Tensor, noise_scale: float, floor: float) -> None:
        super().__init__()
        self.point, self.noise_scale, self.floor, self.num_classes = point, noise_scale, floor, 2
        self.latent_shape = (1, 2, 2)
        self.seen: list[Tensor] = []

    def velocity(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        self.seen.append(y)
        return (self.point - x) / (1 - t[:, None, None, None]).clamp(min=self.floor)


@pytest.mark.parametrize("noise_scale", [1.0, 2.0])
@pytest.mark.parametrize("floor", [0.0, 0.05])
def test_the_target_is_the_one_convention(noise_scale: float, floor: float) -> None:
    point = torch.full((1, 2, 2), 0.3)
    m = Exact(point, noise_scale, floor)
    x1, y = point.expand(512, -1, -1, -1), torch.zeros(512, dtype=torch.int64)
    settings = PretrainSettings(min_noise_level=floor, label_drop=0.25)
    loss = flow_matching_loss(m, x1, y, settings, torch.Generator().manual_seed(0))
    assert float(loss) < 1e-4
    assert 0.15 < float((m.seen[0] == m.null_class).float().mean()) < 0.35


def test_times_follow_the_named_distribution() -> None:
    generator = torch.Generator().manual_seed(0)
    uniform = sample_times(4000, PretrainSettings(), generator)
    assert float(uniform.mean()) == pytest.approx(0.5, abs=2e-3) and float(uniform.var()) == pytest.approx(
        1 / 12, abs=1e-3
    )
    t = sample_times(4000, PretrainSettings(time="logit-normal", time_mean=-0.8, time_std=0.8), generator)
    logit = t.logit()
    assert float(logit.mean()) == pytest.approx(-0.8, abs=0.01) and float(logit.std()) == pytest.approx(0.8, abs=0.01)
    shifted = sample_times(4000, PretrainSettings(time_shift=3.0), generator)
    # t -> t / (3 - 2 t): the median 1/2 goes to 1/4.
    assert float(shifted.median()) == pytest.approx(0.25, abs=0.01)


def test_wrong_latents_and_settings_are_refused() -> None:
    latents, labels = two_points()
    with pytest.raises(UserError, match="the model takes"):
        pretrain(model(), latents[:, :, :2], labels, QUICK, 0)
    with pytest.raises(UserError, match="one label each"):
        pretrain(model(), latents, labels[:5], QUICK, 0)
    with pytest.raises(UserError, match="did you mean 'steps'"):
        pretrain(model(), latents, labels, {"step": 3}, 0)
