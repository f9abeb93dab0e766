"""The discriminator on pairs whose log density ratio is known."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from sklearn.metrics import log_loss, roc_auc_score
from torch import Tensor

from drlbench.encoders.base import Encoder
from drlbench.errors import IntegrityError, UserError
from drlbench.rewards.calibration import auc, calibration_report
from drlbench.rewards.discriminator import RECORD, WEIGHTS, Discriminator, DiscriminatorSettings
from drlbench.rewards.discriminator_fit import _Fit, fit_discriminator


class Flat(Encoder):
    """Pixels times a trainable scale."""

    def __init__(self, signature: str = "flat") -> None:
        super().__init__()
        self.dim, self.signature = 4, signature
        self.scale = torch.nn.Parameter(torch.ones(4))
        self.freeze()

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) * self.scale


def make(n: int, real: bool, seed: int) -> tuple[Tensor, Tensor]:
    """N(0.5 + shift(y), 0.2^2) pixels; real ones are shifted by +-0.1 depending on the class."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 2
    shift = 0.1 * (1 - 2 * y.float())[:, None] if real else torch.zeros(n, 1)
    return (0.5 + shift + 0.2 * torch.randn(n, 4, generator=generator)).view(n, 1, 2, 2), y


def true_logit(images: Tensor, y: Tensor) -> Tensor:
    shift = 0.1 * (1 - 2 * y.float())
    return ((images.flatten(1) - 0.5).sum(1) * shift - 4 * shift**2 / 2) / 0.04


SETS = (make(4000, True, 0), make(4000, False, 1), make(2000, True, 2), make(2000, False, 3))
QUICK = {"learning_rate": 5e-3, "batch": 256, "steps": 400, "width": 16}


@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"head": "mlp-2", "heads": 3, "dropout": 0.1, "weight_decay": 0.05, "schedule": "one-cycle"},
        {"whiten": "full"},
        {"whiten": "scale", "r1": 1e-5},
    ],
)
def test_the_logit_is_the_log_ratio(extra: dict[str, object]) -> None:
    model = fit_discriminator(Flat(), *SETS, 2, QUICK | extra, seed=0)
    images, y = make(3000, False, 9)
    with torch.no_grad():
        found = model(images, y)
    truth = true_logit(images, y)
    assert np.corrcoef(found.numpy(), truth.numpy())[0, 1] > 0.97
    assert float((found - truth).abs().mean()) < 0.25 * float(truth.std())
    report = model.report
    assert report["auc"] == pytest.approx(0.76, abs=0.03)  # Phi(0.5 * 2 / sqrt 2)
    assert report["mean_exp_fake"] == pytest.approx(1.0, abs=0.15)
    assert report["ece"] < 0.05
    assert report["curve"][0]["held_out"] > report["nll"] - 1e-9


def test_report_against_peers() -> None:
    generator = torch.Generator().manual_seed(0)
    real, fake = torch.randn(300, generator=generator) + 1, torch.randn(300, generator=generator) - 1
    fake[:20] = real[:20]  # ties
    found = calibration_report(real, fake)
    label = np.r_[np.ones(300), np.zeros(300)]
    scores = torch.cat([real, fake]).double().numpy()
    assert auc(real, fake) == pytest.approx(roc_auc_score(label, scores), abs=1e-12)
    assert found["nll"] == pytest.approx(log_loss(label, 1 / (1 + np.exp(-scores))), abs=1e-9)
    w = np.exp(fake.double().numpy())
    assert found["effective_sample_share"] == pytest.approx(w.sum() ** 2 / (w**2).sum() / 300)
    assert found["mean_exp_fake"] == pytest.approx(w.mean())
    perfect = torch.logit(torch.tensor([0.9] * 10, dtype=torch.float64))
    nine, one = perfect[:9], perfect[:1]
    # Nine real and one fake at p = 0.9, weighted to balance: 0.5 * 0.1 real side against 0.5 * 0.9 fake side.
    assert calibration_report(nine, one)["ece"] == pytest.approx(abs(0.5 * -0.1 + 0.5 * 0.9))


def test_r1_shrinks_the_pixel_gradient() -> None:
    slopes = []
    for r1 in (0.0, 0.1):
        model = fit_discriminator(Flat(), *SETS, 2, QUICK | {"steps": 200, "r1": r1}, seed=0)
        x = SETS[2][0].clone().requires_grad_()
        (g,) = torch.autograd.grad(model(x, SETS[2][1]).sum(), x)
        slopes.append(float(g.flatten(1).norm(dim=1).mean()))
    assert slopes[1] < 0.8 * slopes[0]


def test_it_stops_early_and_keeps_the_best() -> None:
    settings = QUICK | {"buffer_batches": 2, "buffer_epochs": 5, "validate_every": 5, "patience": 4, "steps": 5000}
    model = fit_discriminator(Flat(), *SETS, 2, settings, seed=0)
    curve = model.report["curve"]
    assert model.report["steps"] < 5000
    best = min(range(len(curve)), key=lambda i: curve[i]["held_out"])
    assert curve[best]["step"] == model.report["best_step"]
    assert len(curve) - 1 - best == 4
    assert model.report["nll"] == pytest.approx(curve[best]["held_out"], rel=1e-5)


def test_a_buffer_is_visited_ten_times_and_refilled_with_images_not_seen_before() -> None:
    """The paper's schedule: 20 mini-batches of pairs, 10 epochs over them, then fresh fakes."""
    count, half, refills = 260, 3, 4
    images, labels = torch.rand(count, 1, 2, 2), torch.zeros(count, dtype=torch.int64)
    settings = DiscriminatorSettings(batch=2 * half, head="linear", width=4)
    assert (settings.buffer_batches, settings.buffer_epochs) == (20, 10)
    fit = _Fit(Discriminator([Flat()], settings, 2), *[(images, labels)] * 4, 0)
    features = fit.fake[0]
    index = {tuple(row.tolist()): i for i, row in enumerate(features)}
    batches = fit._batches()
    held: list[set[int]] = []
    for _ in range(refills):
        visits: Counter[int] = Counter()
        for _ in range(20 * 10):
            rows, (fakes, _) = next(batches)
            assert len(rows) == len(fakes) == half
            visits.update(index[tuple(row.tolist())] for row in fakes)
        assert set(visits.values()) == {10}
        held.append(set(visits))
    assert all(len(buffer) == 20 * half for buffer in held)
    assert len(set().union(*held)) == refills * 20 * half, "every refill is fresh while fakes last"


def test_same_seed_same_weights_whatever_the_global_generator() -> None:
    settings = QUICK | {"steps": 20, "head": "mlp-2", "dropout": 0.2}
    torch.manual_seed(1)
    one = fit_discriminator(Flat(), *SETS, 2, settings, seed=4)
    torch.manual_seed(2)
    other = fit_discriminator(Flat(), *SETS, 2, settings, seed=4)
    assert one.signature == other.signature
    assert one.signature != fit_discriminator(Flat(), *SETS, 2, settings, seed=5).signature


def test_the_encoder_can_be_trained_too() -> None:
    encoder = Flat()
    model = fit_discriminator(encoder, *SETS, 2, QUICK | {"steps": 30, "encoder_learning_rate": 1e-2}, seed=0)
    assert torch.equal(encoder.scale, torch.ones(4)), "the caller's encoder is left alone"
    inner = model.encoders[0]
    assert isinstance(inner, Flat) and not torch.equal(inner.scale, torch.ones(4))
    assert not any(p.requires_grad for p in model.parameters())
    with pytest.raises(UserError, match="whiten must be 'none'"):
        fit_discriminator(encoder, *SETS, 2, {"encoder_learning_rate": 1e-4, "whiten": "full"}, seed=0)


class Layers(Encoder):
    """A linear map of the pixels, drawn from a seed: an architecture that can start again."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.dim, self.signature = 3, f"layers {seed}"
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.map = torch.nn.Linear(4, 3)
        self.freeze()

    def forward(self, images: Tensor) -> Tensor:
        return self.map(images.flatten(1))


SCRATCH = QUICK | {"steps": 40, "encoder_learning_rate": 1e-2, "encoder_weights": "scratch"}


def test_from_scratch_starts_from_the_seed_and_not_from_the_given_weights() -> None:
    one, other = (fit_discriminator(Layers(given), *SETS, 2, SCRATCH, seed=4) for given in (0, 1))
    assert torch.equal(one(*SETS[2]), other(*SETS[2])), "what was given is an architecture, whatever its weights"
    tuned = fit_discriminator(Layers(0), *SETS, 2, SCRATCH | {"encoder_weights": "pretrained"}, seed=4)
    frozen = fit_discriminator(Layers(0), *SETS, 2, QUICK | {"steps": 40}, seed=4)
    another = fit_discriminator(Layers(0), *SETS, 2, SCRATCH, seed=5)
    assert len({m.signature for m in (one, tuned, frozen, another)}) == 4
    assert one.signature.endswith("layers 0, trained from scratch") and tuned.signature.endswith("layers 0, fine-tuned")
    barely = fit_discriminator(Layers(0), *SETS, 2, SCRATCH | {"encoder_learning_rate": 1e-9}, seed=4)
    start, end = Layers(0).untrained(4).map.weight, barely.encoders[0].map.weight  # type: ignore[union-attr] # of Layers
    assert torch.allclose(end, start, atol=1e-6) and not torch.allclose(end, Layers(0).map.weight, atol=1e-2)


@pytest.mark.parametrize("weights", ["pretrained", "scratch"])
def test_a_trained_encoder_is_saved_with_the_reward_and_leaves_the_readers_alone(weights: str, tmp_path: Path) -> None:
    model = fit_discriminator(Layers(), *SETS, 2, SCRATCH | {"encoder_weights": weights, "r1": 1e-3}, seed=0)
    model.save(tmp_path)
    given = Layers()
    loaded = Discriminator.load(tmp_path, [given])
    assert torch.equal(given.map.weight, Layers().map.weight), "metrics may look through it"
    assert torch.equal(loaded(*SETS[2]), model(*SETS[2])) and loaded.signature == model.signature
    assert not any(p.requires_grad for p in loaded.parameters())
    state = safetensors.torch.load_file(tmp_path / WEIGHTS)
    safetensors.torch.save_file({k: v for k, v in state.items() if "map.bias" not in k}, tmp_path / WEIGHTS)
    record = json.loads((tmp_path / RECORD).read_text())
    record["sha256"] = hashlib.sha256((tmp_path / WEIGHTS).read_bytes()).hexdigest()
    (tmp_path / RECORD).write_text(json.dumps(record))
    with pytest.raises(IntegrityError, match=r"not the tensors of this discriminator: encoders.0.map.bias"):
        Discriminator.load(tmp_path, [Layers()])


def test_training_an_encoder_beats_looking_through_one_that_lost_the_difference() -> None:
    """The difference of two pixels is all that tells the sets apart, and the encoder gives only their sum."""
    blind = Layers()
    with torch.no_grad():
        blind.map.weight.copy_(torch.tensor([[1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]]))
    tilt = torch.tensor([0.1, -0.1, 0.1, -0.1]).view(1, 1, 2, 2)
    sets = [make(len(y), False, i) for i, (_, y) in enumerate(SETS)]
    sets = [(x + tilt, y) if i % 2 == 0 else (x, y) for i, (x, y) in enumerate(sets)]
    common = QUICK | {"steps": 200, "encoder_learning_rate": 5e-3}
    found = {
        name: fit_discriminator(blind, *sets, 2, settings, seed=0).report["auc"]
        for name, settings in {
            "frozen": QUICK | {"steps": 200}, "tuned": common, "scratch": common | {"encoder_weights": "scratch"},
        }.items()
    }  # fmt: skip
    assert found["frozen"] < 0.55
    assert found["tuned"] > 0.7 and found["scratch"] > 0.7  # the best there is: Phi(1 / sqrt 2) = 0.76


@pytest.mark.parametrize("trained", [{}, {"encoder_learning_rate": 1e-2}])
def test_micro_batches_do_not_change_the_fit(trained: dict[str, object]) -> None:
    settings = QUICK | {"steps": 20, "r1": 0.1, "r1_every": 2, "r1_images": 100} | trained
    whole, pieces = (
        fit_discriminator(Layers(), *SETS, 2, settings | extra, seed=0) for extra in ({}, {"micro_batch": 26})
    )
    torch.testing.assert_close(pieces(*SETS[2]), whole(*SETS[2]), rtol=1e-4, atol=1e-5)
    assert pieces.report["nll"] == pytest.approx(whole.report["nll"], rel=1e-5)


def test_what_makes_no_sense_together_is_refused() -> None:
    with pytest.raises(UserError, match=r"^discriminator: encoder_weights: scratch needs an encoder_learning_rate"):
        fit_discriminator(Layers(), *SETS, 2, {"encoder_weights": "scratch"}, seed=0)
    nothing = Layers()
    nothing.map = torch.nn.Flatten()  # type: ignore[assignment] # it stands for any map without weights
    with pytest.raises(UserError, match=r"encoder 'layers 0' has no weights to train; leave encoder_learning_rate out"):
        fit_discriminator(nothing, *SETS, 2, {"encoder_learning_rate": 1e-4}, seed=0)
    with pytest.raises(UserError, match="its layer Flat has no reset_parameters"):
        fit_discriminator(Flat(), *SETS, 2, SCRATCH, seed=0)


def test_save_and_load(tmp_path: Path) -> None:
    model = fit_discriminator(Flat(), *SETS, 2, QUICK | {"steps": 30, "whiten": "full"}, seed=0)
    model.save(tmp_path)
    loaded = Discriminator.load(tmp_path, [Flat()])
    assert torch.equal(loaded(*SETS[2]), model(*SETS[2]))
    assert loaded.signature == model.signature and loaded.report == model.report
    with pytest.raises(IntegrityError, match="was trained on encoders"):
        Discriminator.load(tmp_path, [Flat("other")])
    weights = tmp_path / "discriminator.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(IntegrityError, match="checksum"):
        Discriminator.load(tmp_path, [Flat()])


def test_clamped_input_has_no_gradient_beyond_the_range() -> None:
    model = Discriminator([Flat()], DiscriminatorSettings(clamp_input=True), 2)
    x = torch.tensor([[1.5, 0.5, -0.2, 0.3]]).view(1, 1, 2, 2).requires_grad_()
    (g,) = torch.autograd.grad(model(x, torch.tensor([0])).sum(), x)
    assert (g.flatten() == 0).tolist() == [True, False, True, False]


class Rough(Flat):
    """Flat pixels and a ripple of them that is much finer than what sets the classes apart."""

    def forward(self, images: Tensor) -> Tensor:
        x = images.flatten(1)
        return (x + 0.02 * torch.sin(x / 0.004)) * self.scale


def test_noise_makes_the_gradient_of_a_rough_encoder_predictable() -> None:
    """Cosine of the gradients at an image and four grey levels of noise away from it, where the ripple has turned."""
    x, y = make(500, False, 5)
    near = x + 4 / 255 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))

    def slope(model: Discriminator, images: Tensor) -> Tensor:
        images = images.clone().requires_grad_()
        return torch.autograd.grad(model(images, y).sum(), images)[0].flatten(1)

    found = {}
    for noise in (0.0, 0.1):
        model = fit_discriminator(Rough(), *SETS, 2, QUICK | {"noise": noise, "noise_draws": 64}, seed=0)
        found[noise] = float(torch.cosine_similarity(slope(model, x), slope(model, near)).mean())
        if noise:
            logits = model(x, y)
            assert np.corrcoef(logits, true_logit(x, y))[0, 1] > 0.97
            torch.testing.assert_close(model(x[7:9], y[7:9]), logits[7:9])  # an image's draws are not its place's
        assert model.report["gradient_cosine"] == pytest.approx(found[noise], abs=0.2)  # of other images
    assert found[0.0] < 0.5 < 0.8 < found[0.1]


def test_empty_sets_are_named() -> None:
    with pytest.raises(UserError, match="held_out_fake has 0 images"):
        fit_discriminator(Flat(), *SETS[:3], (torch.zeros(0, 1, 2, 2), torch.zeros(0)), 2, {}, seed=0)


def test_a_fit_tells_how_far_it_is() -> None:
    seen: list[float] = []
    fit_discriminator(Flat(), *SETS, 2, QUICK | {"steps": 60, "patience": None}, seed=0, progress=seen.append)
    assert len(seen) > 1 and seen == sorted(seen) and seen[-1] == 1.0
