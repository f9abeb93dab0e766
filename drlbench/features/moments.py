"""Means and covariances gathered in one pass: float64, shifted, mergeable (Chan, Golub & LeVeque 1979).

Shapes: n samples, D dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from scipy.linalg import blas

from drlbench.errors import IntegrityError, UserError
from drlbench.store.atomic import write_bytes

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """A mean (D,), a covariance (D, D) with n − 1, the n behind them (0: unknown), and where they come from."""

    mean: Array
    covariance: Array
    n: int
    provenance: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.mean.ndim != 1 or self.covariance.shape != (self.mean.size, self.mean.size):
            raise UserError(
                f"moments: a mean of shape {self.mean.shape}, a covariance of shape {self.covariance.shape}"
            )

    @staticmethod
    def of(features: NDArray[np.floating[Any]], provenance: Mapping[str, str] | None = None) -> Moments:
        """Moments of features (n, D), n at least 2."""
        running = MomentAccumulator(features.shape[1])
        running.add(features)
        return running.finish(provenance)

    def save(self, path: Path) -> None:
        """Write safetensors (mean, covariance) with n and provenance in the header."""
        header = {**{k: str(v) for k, v in self.provenance.items()}, "n": str(self.n), "format": "drlbench-moments-1"}
        write_bytes(path, save({"mean": self.mean, "covariance": self.covariance}, metadata=header))

    @staticmethod
    def load(path: Path) -> Moments:
        """Read what `save` wrote.

        Raises:
            IntegrityError: the file is damaged or holds something else.
        """
        try:
            with safe_open(path, framework="np") as file:
                header = dict(file.metadata() or {})
                mean, covariance = file.get_tensor("mean"), file.get_tensor("covariance")
            n = int(header.pop("n"))
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise IntegrityError(f"{path}: cannot be read as moments ({error})") from error
        header.pop("format", None)
        return Moments(mean, covariance, n, header)


class MomentAccumulator:
    """Running moments of features that arrive in batches, on one worker or several."""

    def __init__(self, dimension: int) -> None:
        self.n = 0
        self.shift = np.zeros(dimension)  # the first batch's mean: keeps the sums small whatever the offset
        self.total = np.zeros(dimension)  # Σ (x − shift)
        # Σ (x − shift)(x − shift)ᵀ, lower triangle; Fortran order lets dsyrk add in place.
        self.scatter = np.zeros((dimension, dimension), order="F")

    def add(self, features: NDArray[np.floating[Any]]) -> None:
        """Take in a batch (b, D).

        Raises:
            UserError: another dimension than before.
        """
        if features.ndim != 2 or features.shape[1] != self.total.size:
            raise UserError(f"features of shape {features.shape} do not have {self.total.size} dimensions")
        x = np.asarray(features, dtype=np.float64)
        if not len(x):
            return
        if not self.n:
            self.shift = x.mean(0)
        x = x - self.shift
        self.n += len(x)
        self.total += x.sum(0)
        self.scatter = blas.dsyrk(1.0, x.T, beta=1.0, c=self.scatter, lower=1, overwrite_c=1)

    def _centred(self) -> tuple[Array, Array]:
        """Mean (D,) and Σ (x − mean)(x − mean)ᵀ (D, D), lower triangle."""
        offset = self.total / self.n
        return self.shift + offset, self.scatter - self.n * np.outer(offset, offset)

    def finish(self, provenance: Mapping[str, str] | None = None) -> Moments:
        """The moments so far.

        Raises:
            UserError: fewer than two samples.
        """
        if self.n < 2:
            raise UserError(f"a covariance needs at least 2 samples, {self.n} given")
        mean, scatter = self._centred()
        lower = np.tril(scatter) / (self.n - 1)
        return Moments(mean, lower + np.tril(lower, -1).T, self.n, provenance or {})
