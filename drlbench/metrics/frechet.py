"""Fréchet distance between Gaussians fitted to features (Dowson & Landau 1982; FID of Heusel et al. 2017).

FD = |μ₁ − μ₂|² + tr Σ₁ + tr Σ₂ − 2 tr (Σ₁ Σ₂)^½, covariances with n − 1, everything float64.

With any roots Σ = L Lᵀ the last trace is the nuclear norm of L₁ᵀ L₂: no square root of a non-symmetric matrix, no
complex numbers, and rank deficiency is harmless. A root comes from the centred features when n ≤ D, otherwise
from the pivoted Cholesky factorisation of the covariance (LAPACK dpstrf), which stops at the numerical rank.

Shapes: n samples, D dimensions, r columns of a root.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from drlbench.errors import UserError
from drlbench.metrics.base import Evidence, Measurement, Metric
from drlbench.metrics.bootstrap import counts_or_default, first_order
from drlbench.metrics.inputs import as_features, same_dimension

Array = NDArray[np.float64]


@runtime_checkable
class SupportsMoments(Protocol):
    """Anything that knows a mean (D,), a covariance (D, D) with n − 1, and the n they rest on."""

    mean: Any
    covariance: Any
    n: int


@dataclass(frozen=True)
class Gaussian:
    """A mean and a covariance, with the covariance's root computed once and kept.

    Build it with `Gaussian.of`; hand the same object to several calls and the reference is factored only once.
    """

    mean: Array  # (D,)
    n: int
    centred: Array | None = None  # (n, D), known when built from features
    given: Array | None = None  # (D, D), known when built from moments

    @staticmethod
    def of(x: Any, name: str = "features") -> Gaussian:
        """From features (n, D), an object with mean, covariance and n, or a Gaussian (returned as it is).

        Raises:
            UserError: malformed features or moments.
        """
        if isinstance(x, Gaussian):
            return x
        if isinstance(x, SupportsMoments):
            mean = np.asarray(x.mean, dtype=np.float64)
            covariance = np.asarray(x.covariance, dtype=np.float64)
            if mean.ndim != 1 or covariance.shape != (mean.size, mean.size):
                raise UserError(f"{name}: a mean of shape {mean.shape} with a covariance of shape {covariance.shape}")
            if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
                raise UserError(f"{name}: the moments hold NaN or infinity")
            return Gaussian(mean, int(x.n), given=covariance)
        features = as_features(x, name)
        mean = features.mean(0)
        centred = features - mean
        return Gaussian(mean + centred.mean(0), len(features), centred=centred - centred.mean(0))

    @cached_property
    def covariance(self) -> Array:
        """(D, D) float64, symmetric."""
        if self.given is not None:
            return (self.given + self.given.T) / 2
        assert self.centred is not None
        # dsyrk computes one triangle only: half the work of a general product.
        half = linalg.blas.dsyrk(1.0 / (self.n - 1), self.centred.T, lower=1)
        return half + np.tril(half, -1).T

    @cached_property
    def trace(self) -> float:
        """tr Σ."""
        if self.centred is not None:
            return float(np.einsum("nd,nd->", self.centred, self.centred)) / (self.n - 1)
        return float(np.trace(self.covariance))

    @cached_property
    def factor(self) -> tuple[Array, NDArray[np.intp]]:
        """Pivoted Cholesky: lower (D, r) in Fortran order and pivots (D,) with Σ[p][:, p] = lower lowerᵀ."""
        packed, pivot, rank, _ = linalg.lapack.dpstrf(self.covariance, tol=-1.0, lower=1)
        return np.asfortranarray(np.tril(packed)[:, :rank]), pivot.astype(np.intp) - 1

    @cached_property
    def root(self) -> Array:
        """(D, r) with root rootᵀ = Σ."""
        if self.centred is not None and self.thin:
            return self.centred.T / np.sqrt(self.n - 1)
        lower, pivot = self.factor
        root = np.empty_like(lower)
        root[pivot] = lower
        return root

    @property
    def thin(self) -> bool:
        """True when n ≤ D makes the covariance singular."""
        return 0 < self.n <= self.mean.size

    @property
    def rank(self) -> int:
        """Numerical rank of Σ; at most n − 1, which is taken for it when n ≤ D."""
        return self.n - 1 if self.thin else self.factor[0].shape[1]


def _cross_singular_values(a: Gaussian, b: Gaussian) -> Array:
    """Singular values of L_aᵀ L_b; their sum is tr (Σ_a Σ_b)^½."""
    if a.thin and b.thin and a.centred is not None and b.centred is not None:
        return linalg.svdvals(a.root.T @ b.root, check_finite=False)  # nothing is squared
    first, other = (a, b) if a.thin or not b.thin else (b, a)
    if first.thin:
        gram = first.root.T @ (other.covariance @ first.root)
    else:
        lower, pivot = first.factor
        gram = np.asfortranarray(other.covariance[np.ix_(pivot, pivot)])
        if lower.shape[1] == lower.shape[0]:  # two triangular products cost half of two general ones
            gram = linalg.blas.dtrmm(1.0, lower, gram, lower=1, trans_a=1, overwrite_b=1)
            gram = linalg.blas.dtrmm(1.0, lower, gram, side=1, lower=1, overwrite_b=1)
        else:
            gram = lower.T @ gram @ lower
    return np.sqrt(np.clip(linalg.eigvalsh(gram, check_finite=False, overwrite_a=True), 0.0, None))


def _influence(a: Gaussian, b: Gaussian) -> tuple[Array, Array]:
    """∂FD/∂weight (n,) of every sample behind `a`, and the singular values of X_c L_b / √(n − 1).

    The derivative of the nuclear norm of M with respect to a weight on row i is ½ Σ_k U_ik² s_k.
    """
    assert a.centred is not None
    n, centred = a.n, a.centred
    cross = centred @ b.root / np.sqrt(n - 1)  # (n, r)
    if n <= cross.shape[1]:
        squares, left = linalg.eigh(cross @ cross.T, check_finite=False, overwrite_a=True)
        s = np.sqrt(np.clip(squares, 0.0, None))
        share = left**2 @ s
    else:
        squares, right = linalg.eigh(cross.T @ cross, check_finite=False, overwrite_a=True)
        s = np.sqrt(np.clip(squares, 0.0, None))
        kept = s > s.max(initial=0.0) * 1e-7  # below this a squared spectrum is rounding noise
        share = (cross @ right[:, kept]) ** 2 @ (1.0 / s[kept])
    influence = 2.0 * centred @ (a.mean - b.mean) / n + np.einsum("nd,nd->n", centred, centred) / (n - 1) - share
    return influence, s


def value_and_influence(a: Gaussian, b: Gaussian) -> tuple[float, Array]:
    """FD of `a` to `b`, and ∂FD/∂weight (n,) of every sample behind `a`, from one spectrum."""
    influence, s = _influence(a, b)
    gap = a.mean - b.mean
    return float(gap @ gap) + a.trace + b.trace - 2.0 * float(s.sum()), influence


def frechet_distance(
    a: Any,
    b: Any,
    *,
    counts: NDArray[np.integer[Any]] | None = None,
    resamples: int = 200,
    metric: str = "fd",
) -> Measurement:
    """Fréchet distance of generated `a` to reference `b`, float64; symmetric in its value.

    Args:
        a, b: features (n, D), objects with mean (D,), covariance (D, D) and n, or `Gaussian`s. Only features of
            `a` can be resampled: from moments the interval is NaN.
        counts: (R, n) resamples shared with other metrics; by default `resample_counts(n, resamples)`.
        resamples: 0 leaves the interval out.

    Returns:
        A Measurement; details: mean_term, trace_sqrt, rank_a, rank_b, rank_deficient. The interval describes the
        spread over samples of this n around the estimate. It does not remove the upward bias of FD at finite n, so
        only compare values with the same n. Values of a few 1e-9 below zero are rounding for identical sets.

    Raises:
        UserError: malformed features, or different dimensions.
    """
    first, second = Gaussian.of(a, "a"), Gaussian.of(b, "b")
    same_dimension(first.mean.size, second.mean.size)
    difference = first.mean - second.mean
    mean_term = float(difference @ difference)
    trace_sqrt = float(_cross_singular_values(first, second).sum())
    value = mean_term + first.trace + second.trace - 2.0 * trace_sqrt
    dimension = first.mean.size
    notes = tuple(
        f"{name} has n = {g.n} samples for {dimension} dimensions: the covariance is singular and the distance is "
        f"biased upwards; compare only with the same n"
        for name, g in (("the generated set", first), ("the reference", second))
        if 0 < g.n <= dimension
    )
    rank_a, rank_b = first.rank, second.rank
    details = {
        "mean_term": mean_term,
        "trace_sqrt": trace_sqrt,
        "rank_a": float(rank_a),
        "rank_b": float(rank_b),
        "rank_deficient": float(min(rank_a, rank_b) < dimension),
    }
    resampling = None if first.centred is None else counts_or_default(counts, first.n, resamples)
    if resampling is None:
        return Measurement(metric, value, np.nan, np.nan, first.n, "lower", None, notes, details)
    return first_order(metric, value, _influence(first, second)[0], resampling, "lower", notes, details)


class FrechetDistance(Metric):
    """`fd` against the training data, `fd_val` against held-out data, and `fdr` = fd / FD(held-out, training)."""

    needs: ClassVar[Literal["features", "images"]] = "features"

    @classmethod
    def operations(cls, n: int, train: int, heldout: int, width: int, resamples: int) -> float:
        """Moments, a root and the spectrum of each pair of sets, and the influence of every sample."""
        rank = min(width, n, train or width)
        return float(6 * (n + heldout) * width**2 + 2 * rank * (20 * rank**2 + 10 * width**2) + 2 * n * resamples)

    def measure(self, evidence: Evidence) -> list[Measurement]:
        """fd, and with held-out features also fd_val and fdr (1 means: as far from training data as real data).

        fdr is left out, with a note, where the held-out features are the training features."""
        evidence.require("fd", "features", "reference")
        generated = Gaussian.of(evidence.features, "features")
        reference = Gaussian.of(evidence.reference, "reference")
        results = [frechet_distance(generated, reference, counts=evidence.counts)]
        if evidence.reference_val is not None:
            held_out = Gaussian.of(evidence.reference_val, "reference_val")
            results.append(frechet_distance(generated, held_out, counts=evidence.counts, metric="fd_val"))
            unit = frechet_distance(held_out, reference, resamples=0).value
            fd = results[0]
            # Of a set to itself only rounding is left, and a ratio to that means nothing.
            if unit <= 1e-9 * (held_out.trace + reference.trace):
                note = f"fdr is left out: held-out and training data are at distance {unit:.3g} of each other"
                results[0] = replace(fd, notes=(*fd.notes, note))
            else:
                results.append(replace(fd.scaled(1 / unit), metric="fdr", details={"fd_of_held_out": unit}))
        return results
