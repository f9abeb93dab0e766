"""BRISQUE (Mittal, Moorthy and Bovik 2012): how undistorted an image looks, without a reference. Not aesthetics.

Grey values, less their local mean and over their local deviation, follow a generalised Gaussian in natural images, and
so do products of neighbours; blur, noise and blocking change its shape. Eighteen parameters at each of two scales go
through a support vector regression, whose vectors come with the Python package `brisque`; it is differentiable, and
the package's own code is not run. Lower scores are better, so the reward is minus the score, in its points (0 to about
100).

The score is steep where an image is flat. So that one image does not outweigh a batch, the gradient of each image's
reward is cut to a given norm on its way to the pixels: the reward is exact, its slope is not where that happens.

Shapes: B batch, C channels, H and W image height and width, P values of an image, V support vectors.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import gammaln
from torch import Tensor
from torch.nn import functional as F

from drlbench.encoders.weights import locate, weights_hash
from drlbench.errors import IntegrityError, UserError
from drlbench.rewards.base import Reward
from drlbench.weights.catalogue import ASSETS
from drlbench.weights.opcodes import read_tables
from drlbench.weights.skeleton import skeleton

WINDOW, SIGMA = 7, 7 / 6
GREY = (0.2125, 0.7154, 0.0721)  # Rec. 709, as the package's
STABLE = 1 / 255
SMALLEST = 16  # pixels; half of it still holds a window
SHAPES = (0.2, 10.0, 20_000)  # of the generalised Gaussian: the published least and largest, how many in the table
VECTORS = 770  # of the published regression
TINY = 1e-14  # of a variance, under whose root a gradient would be infinite
NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))


class Brisque(Reward):
    """Minus the BRISQUE score of an image, whatever its class."""

    needs_labels = False
    kernel: Tensor  # (1, 1, 7, 7)
    vectors: Tensor  # (V, 36)
    coefficients: Tensor  # (V,)
    low: Tensor  # (36,)
    high: Tensor  # (36,)
    ratios: Tensor  # increasing, with the `shapes` they belong to
    shapes: Tensor

    def __init__(self, name: str, gradient_clip: float = 20.0) -> None:
        """Read the regression.

        Args:
            name: what the suite calls the reward.
            gradient_clip: largest norm of an image's gradient, in points per unit of pixel distance.

        Raises:
            UserError: a clip that is not positive. MissingPrerequisite: the package is not installed.
            IntegrityError: a file is not the published one.
        """
        super().__init__()
        if not gradient_clip > 0:
            raise UserError(f"{name}: gradient_clip {gradient_clip}: give a positive norm")
        self.name, self.gradient_clip = name, float(gradient_clip)
        path, ranges = locate(ASSETS["brisque-svm"]), locate(ASSETS["brisque-ranges"])
        if skeleton():
            self.gamma, self.offset, coefficients, vectors = 0.0, 0.0, torch.empty(VECTORS), torch.empty(VECTORS, 36)
            low, high = torch.empty(36), torch.empty(36)
        else:
            self.gamma, self.offset, coefficients, vectors = read_regression(path)
            low, high = _ranges(ranges)
        line = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
        bell = torch.exp(-(line**2) / (2 * SIGMA**2))
        window = torch.outer(bell, bell)
        shapes = torch.from_numpy(np.geomspace(*SHAPES))
        for key, value in {
            "kernel": (window / window.sum())[None, None],
            "vectors": vectors,
            "coefficients": coefficients,
            "low": low,
            "high": high,
            "shapes": shapes,
            "ratios": _ratio(shapes),
        }.items():
            self.register_buffer(key, value)
        self.signature = f"brisque:{weights_hash(path)[:12]}"

    def forward(self, images: Tensor, y: Tensor) -> Tensor:
        if min(images.shape[-2:]) < SMALLEST:
            raise UserError(f"{self.name}: images of {tuple(images.shape[-2:])} are too small; at least {SMALLEST}")
        clipped: Tensor = _ClippedGradient.apply(images, self.gradient_clip)
        return -self.score(clipped).float()

    def score(self, images: Tensor) -> Tensor:
        """BRISQUE (B,) float64 of images (B, 1 or 3, H, W), nominally in [0, 1]; lower is better."""
        features = 2 * (self.features(images) - self.low) / (self.high - self.low) - 1
        apart = (features[:, None] - self.vectors).square().sum(-1)  # (B, V)
        return torch.exp(-self.gamma * apart) @ self.coefficients - self.offset

    def features(self, images: Tensor) -> Tensor:
        """The 36 parameters (B, 36) float64."""
        x = images.double()
        grey = x if x.shape[1] == 1 else (x * x.new_tensor(GREY)[:, None, None]).sum(1, keepdim=True)
        half = F.interpolate(grey, scale_factor=0.5, mode="bicubic", align_corners=False)
        return torch.cat([self._at_scale(grey), self._at_scale(half)], 1)

    def _at_scale(self, grey: Tensor) -> Tensor:
        mean = F.conv2d(grey, self.kernel, padding=WINDOW // 2)
        variance = F.conv2d(grey.square(), self.kernel, padding=WINDOW // 2) - mean.square()
        normal = ((grey - mean) / (variance.abs().clamp_min(TINY).sqrt() + STABLE))[:, 0]  # (B, H, W)
        shape, _, left, right = self._fit(normal)
        found = [shape, (left + right) / 2]
        for down, right_by in NEIGHBOURS:
            found += self._fit(_neighbours(normal, down, right_by))
        return torch.stack(found, 1)

    def _fit(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Shape, mean, left and right variance (B,) of an asymmetric generalised Gaussian by its moments."""
        x = x.flatten(1)  # (B, P)
        negative = x < 0
        left = _mean_square(x, negative)
        right = _mean_square(x, ~negative)
        balance = (left / right).sqrt()
        ratio = x.abs().mean(1).square() / x.square().mean(1).clamp_min(TINY)
        ratio = ratio * (balance**3 + 1) * (balance + 1) / (balance**2 + 1) ** 2
        shape = self._shape(ratio)
        log_of = torch.lgamma
        mean = (right.sqrt() - left.sqrt()) * torch.exp(
            log_of(2 / shape) - 0.5 * (log_of(1 / shape) + log_of(3 / shape))
        )
        return shape, mean, left, right

    def _shape(self, ratio: Tensor) -> Tensor:
        """The shape whose ratio of squared mean and mean square this is, between the table's entries by a line."""
        after = torch.searchsorted(self.ratios, ratio.detach()).clamp(1, len(self.ratios) - 1)
        low, high = self.ratios[after - 1], self.ratios[after]
        share = ((ratio - low) / (high - low)).clamp(0, 1)
        return self.shapes[after - 1] + share * (self.shapes[after] - self.shapes[after - 1])


def _neighbours(x: Tensor, down: int, right: int) -> Tensor:
    """Products of each value with the one `down` below and `right` beside it."""
    height, width = x.shape[1:]
    here = x[:, : height - down, max(0, -right) : width - max(0, right)]
    there = x[:, down:, max(0, right) : width + min(0, right)]
    return here * there


def _mean_square(x: Tensor, chosen: Tensor) -> Tensor:
    return ((x * chosen).square().sum(1) / chosen.sum(1).clamp_min(1)).clamp_min(TINY)


def _ratio(shape: Tensor) -> Tensor:
    a = shape.numpy()
    return torch.from_numpy(np.exp(2 * gammaln(2 / a) - gammaln(1 / a) - gammaln(3 / a)))


class _ClippedGradient(torch.autograd.Function):
    """Images as they are; each image's gradient at most of a given norm."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, largest: float) -> Tensor:
        """(B, C, H, W) unchanged."""
        ctx.largest = largest
        return images.view_as(images)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """The direction of (B, C, H, W), shortened where it is too long."""
        norms = gradient.flatten(1).norm(dim=1).clamp_min(1e-30)
        return gradient * (ctx.largest / norms).clamp_max(1.0)[:, None, None, None], None


def read_regression(path: Path) -> tuple[float, float, Tensor, Tensor]:
    """gamma, offset, coefficients (V,) and support vectors (V, 36) of libsvm's text format.

    Raises:
        IntegrityError: not an epsilon-SVR with a Gaussian kernel on 36 features.
    """
    try:
        head, _, body = path.read_text().partition("\nSV\n")
        facts = dict(line.split(None, 1) for line in head.splitlines())
        if (facts["svm_type"], facts["kernel_type"]) != ("epsilon_svr", "rbf"):
            raise ValueError(f"a {facts['svm_type']} with kernel {facts['kernel_type']}")
        rows = [line.split() for line in body.splitlines()]
        vectors = torch.zeros(len(rows), 36, dtype=torch.float64)
        for i, (_, *entries) in enumerate(rows):
            for entry in entries:
                place, value = entry.split(":")
                vectors[i, int(place) - 1] = float(value)
        coefficients = torch.tensor([float(row[0]) for row in rows], dtype=torch.float64)
        return float(facts["gamma"]), float(facts["rho"]), coefficients, vectors
    except (ValueError, KeyError, IndexError, UnicodeDecodeError) as error:
        raise IntegrityError(f"{path}: is not the regression of BRISQUE ({error})") from error


def _ranges(path: Path) -> tuple[Tensor, Tensor]:
    """Least and largest of each feature (36,); the file is a pickle, which is read and not unpickled."""
    table = read_tables(path.read_bytes(), str(path))
    return torch.tensor(table["min_"], dtype=torch.float64), torch.tensor(table["max_"], dtype=torch.float64)
