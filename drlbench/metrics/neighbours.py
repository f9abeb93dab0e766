"""Nearest-neighbour distances without an n × n matrix: single precision proposes, double precision decides.

Squared distances of a block of rows come from one float32 matrix product with a rigorous error bound. Whatever the
bound leaves open is decided by the direct double-precision sum Σ (x − y)², which is exactly zero for equal rows and
exactly symmetric, so that ties and duplicates behave as in the definition and not as in rounding noise.

Shapes: n and m points, D dimensions, b rows of a block, q candidate neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Single = NDArray[np.float32]
Index = NDArray[np.intp]

BLOCK_ELEMENTS = 1 << 22  # of a (b, m) block: 16 MiB in float32
EXACT_ELEMENTS = 1 << 21  # of a direct difference: 16 MiB in float64


@dataclass(frozen=True)
class Points:
    """Features with what the float32 screen needs; all sets that are compared share one centre."""

    exact: Array  # (n, D) as given
    centre: Array  # (D,)

    @cached_property
    def single(self) -> Single:
        """(n, D) centred, so that the bound is about the spread and not about the offset."""
        return (self.exact - self.centre).astype(np.float32)

    @cached_property
    def squares(self) -> Single:
        """(n,) squared norms of `single`."""
        return np.einsum("nd,nd->n", self.single, self.single, dtype=np.float64).astype(np.float32)

    def __len__(self) -> int:
        return len(self.exact)


def pair_distances(x: Points, y: Points, rows: Index, columns: Index) -> Array:
    """Direct squared distances (p,) float64 of the pairs (rows[p], columns[p])."""
    result = np.empty(len(rows))
    step = max(EXACT_ELEMENTS // x.exact.shape[1], 1)
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        difference = x.exact[rows[part]] - y.exact[columns[part]]
        result[part] = np.einsum("pd,pd->p", difference, difference)
    return result


def blocks(x: Points, y: Points) -> Iterator[tuple[slice, Single, Single]]:
    """For blocks of rows of x: the rows, approximate squared distances (b, m), and their error bound (b, 1).

    The bound covers the rounding of both norms, of the D-term dot product and of the float32 cast:
    (D + 8) ε (|x|² + max |y|²).
    """
    dimension = x.exact.shape[1]
    step = max(BLOCK_ELEMENTS // max(len(y), 1), 1)
    unit = np.float32((dimension + 8) * np.finfo(np.float32).eps)
    largest = y.squares.max()
    for start in range(0, len(x), step):
        rows = slice(start, min(start + step, len(x)))
        d2 = x.single[rows] @ y.single.T
        d2 *= -2.0
        d2 += x.squares[rows, None]
        d2 += y.squares[None]
        yield rows, d2, unit * (x.squares[rows, None] + largest)


def radii(points: Points, ks: tuple[int, ...]) -> Array:
    """Squared distance (len(ks), n) float64 of every point to its k-th nearest other point, for each k of `ks`."""
    n, k_max = len(points), max(ks)
    q = min(k_max + 9, n)  # itself, k neighbours, and a few more so that the bound rarely reaches the last
    result = np.empty((len(ks), n))
    for rows, d2, bound in blocks(points, points):
        own = np.arange(rows.start, rows.stop)
        d2[own - rows.start, own] = np.inf
        if q < n:
            candidates = np.argpartition(d2, q - 1, axis=1)[:, :q]
        else:
            candidates = np.broadcast_to(np.arange(n), (len(own), n))
        approximate = np.take_along_axis(d2, candidates, 1)
        exact = pair_distances(points, points, np.repeat(own, q), candidates.ravel()).reshape(len(own), q)
        exact[~np.isfinite(approximate)] = np.inf
        exact.sort(axis=1)
        result[:, rows] = exact[:, [k - 1 for k in ks]].T
        if q < n:
            # A point outside the candidates could be nearer than the k-th only within the bound.
            open_rows = approximate.max(1) <= exact[:, k_max - 1] + 2.0 * bound[:, 0]
            for i in np.flatnonzero(open_rows):
                near = np.flatnonzero(d2[i] <= exact[i, k_max - 1] + 2.0 * bound[i, 0])
                full = np.sort(pair_distances(points, points, np.full(len(near), own[i]), near))
                result[:, own[i]] = full[[k - 1 for k in ks]]
    return result


def within(
    x: Points, y: Points, rows: slice, d2: Single, bound: Single, limit: Array, strict: bool
) -> NDArray[np.bool_]:
    """Whether |x_i − y_j|² is below `limit` (broadcast to (b, m)), or also equal to it when not strict."""
    # Rounding the limit to float32 costs at most one more ε of it, far below the bound's (D + 8) ε.
    edge = limit.astype(np.float32)
    slack = bound + np.finfo(np.float32).eps * edge
    inside = d2 < edge - slack
    row, column = np.nonzero((d2 <= edge + slack) & ~inside)
    if len(row):
        exact = pair_distances(x, y, row + rows.start, column)
        at = np.broadcast_to(limit, d2.shape)[row, column]
        inside[row, column] = exact < at if strict else exact <= at
    return inside
