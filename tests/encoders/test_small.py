"""The small encoders: deterministic, frozen, rescaled, saved and read back; each learns what it claims to learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from drlbench.data.digits import digits
from drlbench.encoders.pixels import Pixels
from drlbench.encoders.small import TOTAL_VARIANCE, SmallEncoder
from drlbench.encoders.small_classifier import SmallClassifier
from drlbench.encoders.small_contrastive import Contrastive, contrastive_loss
from drlbench.encoders.small_dae import DenoisingAutoencoder
from drlbench.errors import IntegrityError, MissingPrerequisite, UserError
from drlbench.registry import ENCODERS
from drlbench.training import to_float

SHORT: dict[type[SmallEncoder], dict[str, object]] = {
    Pixels: {},
    SmallClassifier: {"width": 8, "steps": 12},
    DenoisingAutoencoder: {"width": 8, "features": 16, "steps": 12},
    Contrastive: {"width": 8, "features": 16, "steps": 12, "batch": 64},
}
KINDS = pytest.mark.parametrize("kind", list(SHORT), ids=lambda kind: kind.kind)


def fitted(kind: type[SmallEncoder], seed: int = 0, **more: object) -> SmallEncoder:
    data = digits()
    return kind.fit(data.train_images, data.train_labels, SHORT[kind] | more, seed)[0]


@KINDS
def test_the_registry_knows_it(kind: type[SmallEncoder]) -> None:
    assert ENCODERS.get(kind.kind) is kind


@KINDS
def test_same_seed_same_bits_and_global_generator_untouched(kind: type[SmallEncoder]) -> None:
    torch.manual_seed(123)
    before = torch.get_rng_state()
    first = fitted(kind)
    assert torch.equal(before, torch.get_rng_state())
    torch.rand(7)
    second = fitted(kind)
    assert first.signature == second.signature
    for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    if kind is not Pixels:
        assert fitted(kind, seed=1).signature != first.signature


@KINDS
def test_the_real_total_variance_is_the_stated_one(kind: type[SmallEncoder]) -> None:
    features = fitted(kind)(to_float(digits().train_images))
    assert features.dtype == torch.float32
    assert float(features.double().var(0).sum()) == pytest.approx(TOTAL_VARIANCE, rel=1e-4)


@KINDS
def test_frozen_but_differentiable_in_the_images_and_independent_of_the_batch(kind: type[SmallEncoder]) -> None:
    encoder = fitted(kind)
    assert not any(p.requires_grad for p in encoder.parameters()) and not encoder.training
    images = to_float(digits().heldout_images[:32]).requires_grad_()
    features = encoder(images)
    assert features.shape == (32, encoder.dim)
    (slope,) = torch.autograd.grad(features.square().sum(), images)
    assert slope.abs().sum(dim=(1, 2, 3)).min() > 0
    assert torch.allclose(torch.cat([encoder(one) for one in images.split(5)]), features, rtol=1e-4, atol=1e-4)


@KINDS
def test_saved_and_read_back_it_is_the_same_encoder(kind: type[SmallEncoder], tmp_path: Path) -> None:
    encoder = fitted(kind)
    encoder.save(tmp_path)
    again = kind.load(tmp_path)
    images = to_float(digits().heldout_images[:16])
    assert again.signature == encoder.signature
    assert torch.equal(again(images), encoder(images))
    assert not any(p.requires_grad for p in again.parameters())


def test_damage_and_mistaken_folders_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(MissingPrerequisite, match="no saved network"):
        Pixels.load(tmp_path)
    fitted(Pixels).save(tmp_path)
    with pytest.raises(IntegrityError, match="not a 'small-dae'"):
        DenoisingAutoencoder.load(tmp_path)
    (tmp_path / "weights.safetensors").write_bytes(b"\0" * 40)
    with pytest.raises(IntegrityError, match="does not fit"):
        Pixels.load(tmp_path)


def test_unknown_and_wrong_settings_name_the_right_ones() -> None:
    with pytest.raises(UserError, match=r"unknown setting 'widht' \(did you mean 'width'"):
        fitted(SmallClassifier, widht=8)
    with pytest.raises(UserError, match=r"steps: .*greater than or equal to 1"):
        fitted(SmallClassifier, steps=0)


def test_images_of_another_size_are_refused() -> None:
    with pytest.raises(UserError, match=r"\(1, 8, 8\), not \(1, 4, 4\)"):
        fitted(Pixels)(torch.zeros(2, 1, 4, 4))


def test_constant_images_have_no_scale() -> None:
    with pytest.raises(UserError, match="variance 0"):
        Pixels.fit(np.full((8, 4, 4, 1), 9, np.uint8), np.zeros(8, np.int64), {}, 0)


def test_principal_components_keep_the_leading_variance() -> None:
    data = digits()
    flat = data.train_images.reshape(len(data.train_images), -1) / 255
    spectrum = np.linalg.eigvalsh(np.cov(flat.T))[::-1]
    features = fitted(Pixels, components=5)(to_float(data.train_images)).double()
    found = torch.cov(features.T)
    assert torch.allclose(
        found.diagonal() / found.trace(), torch.from_numpy(spectrum[:5] / spectrum[:5].sum()), atol=1e-4
    )
    assert (found - found.diagonal().diag()).abs().max() < 1e-2


def test_the_classifier_classifies_held_out_digits() -> None:
    data = digits()
    encoder, _ = SmallClassifier.fit(data.train_images, data.train_labels, {"width": 8, "steps": 120}, 0)
    right = encoder.logits(to_float(data.heldout_images)).argmax(1).numpy() == data.heldout_labels
    assert right.mean() > 0.95


def test_the_autoencoder_restores_better_than_the_mean_image() -> None:
    data = digits()
    encoder, log = DenoisingAutoencoder.fit(
        data.train_images, data.train_labels, {"width": 8, "features": 32, "steps": 100}, 0
    )
    images = to_float(data.heldout_images)
    with torch.no_grad():
        error = (encoder.reconstruct(encoder.features(images)) - images).square().mean()
    assert float(error) < 0.5 * float(images.var(0).mean())
    assert log.series["loss"][-1] < 0.5 * log.series["loss"][0]


def test_the_contrastive_space_has_classes_that_it_was_never_told() -> None:
    data = digits()
    encoder = fitted(Contrastive, steps=100)
    with torch.no_grad():
        train, held = (encoder(to_float(x)).numpy() for x in (data.train_images, data.heldout_images))
    assert KNeighborsClassifier(5).fit(train, data.train_labels).score(held, data.heldout_labels) > 0.9


def test_the_contrastive_loss_is_the_softmax_over_all_other_views() -> None:
    z = torch.nn.functional.normalize(torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    expected = 0.0
    for i in range(6):
        others = [j for j in range(6) if j != i]
        scores = torch.tensor([float(z[i] @ z[j]) / 0.5 for j in others])
        expected += float(torch.logsumexp(scores, 0) - scores[others.index((i + 3) % 6)]) / 6
    assert float(contrastive_loss(2 * z, 0.5)) == pytest.approx(expected, rel=1e-5)
