"""Kernel distance: squared maximum mean discrepancy with a polynomial kernel (KID, Bińkowski et al. 2018), float64.

Per subset of s generated x and s reference y:
    [Σ_{i≠j} k(xᵢ, xⱼ) + Σ_{i≠j} k(yᵢ, yⱼ)] / (s (s − 1)) − 2 Σ_ij k(xᵢ, yⱼ) / s²,   k(x, y) = (x·y / D + 1)³.
The value is the mean over the subsets.

Shapes: n generated, m reference samples, D dimensions, P subsets, s samples per subset, b rows per block.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from drlbench.errors import UserError, did_you_mean
from drlbench.metrics.base import Evidence, Measurement, Metric
from drlbench.metrics.bootstrap import counts_or_default, first_order
from drlbench.metrics.inputs import as_features, same_dimension

Array = NDArray[np.float64]
Kernel = Callable[[Array, Array], Array]

CONVENTIONS = ("torch-fidelity", "clean-fid", "dgm-eval")


@dataclass(frozen=True)
class KernelSums:
    """Sums over the subsets, and the mean derivative with respect to each generated sample's weight."""

    subset_values: Array  # (P,)
    influence: Array  # (n,)


def polynomial_kernel(x: Array, y: Array) -> Array:
    """(x·y / D + 1)³ as (n, m)."""
    k = x @ y.T
    k /= x.shape[1]
    k += 1.0
    k *= k * k
    return k


def gaussian_kernel(sigma: float) -> Kernel:
    """exp(−|x − y|² / 2σ²) as a function of two feature matrices."""

    def kernel(x: Array, y: Array) -> Array:
        k = x @ y.T
        k *= 2.0
        k -= np.einsum("nd,nd->n", x, x)[:, None]
        k -= np.einsum("md,md->m", y, y)[None]
        k *= 1.0 / (2.0 * sigma**2)
        return np.exp(np.minimum(k, 0.0, out=k), out=k)

    return kernel


def draw_subsets(
    n: int, m: int, subsets: int, size: int, convention: str, seed: int | None
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Indices (P, s) into generated and reference samples, in the order in which the named tool draws them.

    torch-fidelity draws from its first input before its second with RandomState(2020); clean-fid draws from its
    second before its first with numpy's global state, dgm-eval from its first before its second; both are unseeded
    in the tools and take seed 0 here.

    Raises:
        UserError: unknown convention.
    """
    if convention not in CONVENTIONS:
        raise UserError(
            f"unknown kernel distance convention '{convention}'{did_you_mean(convention, CONVENTIONS)}; "
            f"valid: {', '.join(CONVENTIONS)}"
        )
    if seed is None:
        seed = 2020 if convention == "torch-fidelity" else 0
    # The legacy generator on purpose: its stream is frozen, and it is the one the tools draw from.
    rng = np.random.RandomState(seed)
    x_index = np.empty((subsets, size), dtype=np.intp)
    y_index = np.empty((subsets, size), dtype=np.intp)
    for p in range(subsets):
        if convention == "clean-fid":
            y_index[p] = rng.choice(m, size, replace=False)
            x_index[p] = rng.choice(n, size, replace=False)
        else:
            x_index[p] = rng.choice(n, size, replace=False)
            y_index[p] = rng.choice(m, size, replace=False)
    return x_index, y_index


def _membership(index: NDArray[np.intp], n: int) -> Array:
    member = np.zeros((len(index), n))
    np.put_along_axis(member, index, 1.0, axis=1)
    return member


def _row_sums(x: Array, y: Array, members: Array, kernel: Kernel, block: int) -> tuple[Array, Array]:
    """Row sums (P, n) of k(x, y) over the y that belong to each subset, and k(xᵢ, xᵢ) when y is x."""
    sums = np.empty((len(members), len(x)))
    diagonal = np.zeros(len(x))
    for start in range(0, len(x), block):
        stop = min(start + block, len(x))
        k = kernel(x[start:stop], y)  # (b, m)
        if x is y:
            rows = np.arange(start, stop)
            diagonal[rows] = k[rows - start, rows]
        sums[:, start:stop] = members @ k.T
    return sums, diagonal


def _dense(x: Array, y: Array, xi: NDArray[np.intp], yi: NDArray[np.intp], kernel: Kernel, block: int) -> KernelSums:
    """All pairs once, in blocks of rows: cheaper than the subsets when they overlap a lot."""
    size = xi.shape[1]
    mx, my = _membership(xi, len(x)), _membership(yi, len(y))
    to_x, diagonal_x = _row_sums(x, x, mx, kernel, block)
    to_y, _ = _row_sums(x, y, my, kernel, block)
    within_y, diagonal_y = _row_sums(y, y, my, kernel, block)
    pull = (to_x - diagonal_x) / (size - 1) - to_y / size  # (P, n)
    spread_y = ((within_y - diagonal_y) * my).sum(1) / (size * (size - 1))
    values = ((to_x - diagonal_x) * mx).sum(1) / (size * (size - 1)) + spread_y - 2 * (to_y * mx).sum(1) / size**2
    influence = 2.0 * (pull * mx).sum(0) / np.maximum(mx.sum(0), 1.0) / len(x)
    return KernelSums(values, _centre(influence, mx.sum(0)))


def _subsets(x: Array, y: Array, xi: NDArray[np.intp], yi: NDArray[np.intp], kernel: Kernel) -> KernelSums:
    """Subset by subset: nothing larger than s × s is held, whatever n is."""
    size = xi.shape[1]
    values = np.empty(len(xi))
    influence, seen = np.zeros(len(x)), np.zeros(len(x))
    for p, (i, j) in enumerate(zip(xi, yi, strict=True)):
        kxx, kxy, kyy = kernel(x[i], x[i]), kernel(x[i], y[j]), kernel(y[j], y[j])
        to_x, to_y = kxx.sum(1) - np.diagonal(kxx), kxy.sum(1)
        values[p] = (to_x.sum() + kyy.sum() - np.trace(kyy)) / (size * (size - 1)) - 2 * to_y.sum() / size**2
        influence[i] += 2.0 * (to_x / (size - 1) - to_y / size) / len(x)
        seen[i] += 1.0
    return KernelSums(values, _centre(influence / np.maximum(seen, 1.0), seen))


def _centre(influence: Array, seen: Array) -> Array:
    """Samples in no subset take the mean; the others are scaled so that the total variance is as for all."""
    drawn = seen > 0
    centred = np.where(drawn, influence - influence[drawn].mean(), 0.0)
    return centred * np.sqrt(len(seen) / drawn.sum())


def kernel_distance(
    a: Any,
    b: Any,
    *,
    subsets: int = 100,
    subset_size: int = 1000,
    kernel: str = "polynomial",
    sigma: float = 10.0,
    convention: str = "torch-fidelity",
    seed: int | None = None,
    counts: NDArray[np.integer[Any]] | None = None,
    resamples: int = 200,
    metric: str = "kd",
) -> Measurement:
    """Kernel distance of generated `a` (n, D) to reference `b` (m, D), float64, not scaled by 1000.

    Args:
        subsets, subset_size: the value is the mean over this many random subsets; a set smaller than
            `subset_size` makes every subset as large as the smaller set.
        kernel: "polynomial" (degree 3, scale 1/D, offset 1) or "gaussian" with bandwidth `sigma`.
        convention: whose subset draws: "torch-fidelity", "clean-fid" or "dgm-eval" (the formula is the same).
        seed: of the draws; by default 2020 for torch-fidelity and 0 for the others.
        counts, resamples: as for `frechet_distance`.

    Returns:
        A Measurement. details: standard_deviation (over subsets, ddof 0, as the tools print), standard_error
        (standard_deviation / √subsets), subset_size. The interval is a first-order bootstrap over generated samples.

    Raises:
        UserError: malformed features, different dimensions, unknown kernel or convention.
    """
    x, y = as_features(a, "a"), as_features(b, "b")
    same_dimension(x.shape[1], y.shape[1])
    kernels: dict[str, Kernel] = {"polynomial": polynomial_kernel, "gaussian": gaussian_kernel(sigma)}
    if kernel not in kernels:
        raise UserError(f"unknown kernel '{kernel}'{did_you_mean(kernel, kernels)}; valid: {', '.join(kernels)}")
    if subsets < 1 or subset_size < 2:
        raise UserError(f"{subsets} subsets of {subset_size}: at least 1 subset of 2 samples is needed")
    size = min(subset_size, len(x), len(y))
    fewer = f"kernel distance over subsets of {size:,} samples, not {subset_size:,}: no more were given"
    notes = (fewer,) if size < subset_size else ()
    xi, yi = draw_subsets(len(x), len(y), subsets, size, convention, seed)
    all_pairs = len(x) ** 2 + len(y) ** 2 + len(x) * len(y)
    if all_pairs <= 3 * subsets * size**2:
        sums = _dense(x, y, xi, yi, kernels[kernel], block=1024)
    else:
        sums = _subsets(x, y, xi, yi, kernels[kernel])
    value, deviation = float(sums.subset_values.mean()), float(sums.subset_values.std())
    resampling = counts_or_default(counts, len(x), resamples)
    details = {
        "standard_deviation": deviation,
        "standard_error": deviation / float(np.sqrt(subsets)),
        "subset_size": float(size),
    }
    return first_order(metric, value, sums.influence, resampling, "lower", notes, details)


class KernelDistance(Metric):
    """`kd_x1000` against held-out data: mean over 100 subsets, times 1000."""

    needs: ClassVar[Literal["features", "images"]] = "features"

    @classmethod
    def operations(cls, n: int, train: int, heldout: int, width: int, resamples: int) -> float:
        """Kernel values, of all pairs or of every subset, whichever is less."""
        return float((2 * width + 10) * min((n + heldout) ** 2, 3 * 100 * min(n, heldout, 1000) ** 2))

    def measure(self, evidence: Evidence) -> list[Measurement]:
        """kd_x1000 with details standard_error and standard_deviation, both times 1000 too."""
        evidence.require("kd", "features", "reference_val")
        kd = kernel_distance(evidence.features, evidence.reference_val, counts=evidence.counts)
        details = {k: v if k == "subset_size" else 1000 * v for k, v in kd.details.items()}
        return [replace(kd.scaled(1000.0), metric="kd_x1000", details=details)]
