"""Nearest-neighbour distances without an n × n matrix: single precision proposes, double precision decides.

Squared distances of a block of rows come from one float32 matrix product with a rigorous error bound. Whatever the
bound leaves open is decided by the direct double-precision sum Σ (x − y)², which is exactly zero for equal rows and
exactly symmetric, so that ties and duplicates behave as in the definition and not as in rounding noise.

Shapes: n and m points, D dimensions, b rows of a block, p pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Single = NDArray[np.float32]
Index = NDArray[np.intp]

BLOCK_ELEMENTS = 1 << 21  # of a (b, m) block: 8 MiB in float32
EXACT_ELEMENTS = 1 << 18  # of a direct difference: 2 MiB in float64


@dataclass(frozen=True)
class Points:
    """Features with what the float32 screen needs; all sets that are compared share one centre."""

    exact: NDArray[np.floating[Any]]  # (n, D) as given
    centre: Array  # (D,)

    def single(self, rows: slice = slice(None)) -> Single:
        """Rows (b, D) float32, centred so that the error bound is about the spread and not about the offset."""
        part = self.exact[rows]
        result = np.empty(part.shape, dtype=np.float32)
        step = max(BLOCK_ELEMENTS // part.shape[1], 1)
        for start in range(0, len(part), step):
            result[start : start + step] = part[start : start + step] - self.centre
        return result

    def __len__(self) -> int:
        return len(self.exact)


def _true_places(mask: NDArray[np.bool_]) -> tuple[Index, Index]:
    """np.nonzero of a matrix; the flat search is several times faster when little is true."""
    row, column = np.divmod(np.flatnonzero(mask), mask.shape[1])
    return row, column


def pair_distances(x: Points, y: Points, rows: Index, columns: Index) -> Array:
    """Direct squared distances (p,) float64 of the pairs (rows[p], columns[p])."""
    result = np.empty(len(rows))
    step = max(EXACT_ELEMENTS // x.exact.shape[1], 1)
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        difference = x.exact[rows[part]].astype(np.float64)
        difference -= y.exact[columns[part]]
        result[part] = np.einsum("pd,pd->p", difference, difference)
    return result


def blocks(x: Points, y: Points) -> Iterator[tuple[slice, Single, Single]]:
    """For blocks of rows of x: the rows, approximate squared distances (b, m), and their error bound (b, 1).

    The distances are overwritten by the next block.

    The bound covers the rounding of both norms, of the D-term dot product and of the float32 cast:
    2 (D + 8) ε (|x|² + max |y|²).
    """
    step = max(BLOCK_ELEMENTS // max(len(y), 1), 1)
    dimension = x.exact.shape[1]
    unit = np.float32(2 * (dimension + 8) * np.finfo(np.float32).eps)
    # Rows (−2x, |x|², 1) and columns (y, 1, |y|²): the product is the squared distance, in one pass.
    right = np.ones((len(y), dimension + 2), dtype=np.float32)
    right[:, :dimension] = y.single()
    right[:, -1] = np.einsum("nd,nd->n", right[:, :dimension], right[:, :dimension])
    largest = right[:, -1].max()
    buffer = np.empty((min(step, len(x)), len(y)), dtype=np.float32)
    left = np.ones((min(step, len(x)), dimension + 2), dtype=np.float32)
    for start in range(0, len(x), step):
        rows = slice(start, min(start + step, len(x)))
        count = rows.stop - rows.start
        single = x.single(rows)
        squares = np.einsum("nd,nd->n", single, single)
        np.multiply(single, -2.0, out=left[:count, :dimension])
        left[:count, dimension] = squares
        d2 = np.matmul(left[:count], right.T, out=buffer[:count])
        yield rows, d2, unit * (squares[:, None] + largest)


def radii(points: Points, ks: tuple[int, ...]) -> Array:
    """Squared distance (len(ks), n) float64 of every point to its k-th nearest other point, for each k of `ks`.

    Every point that could be among the k nearest within the error bound is measured directly.
    """
    k_max = max(ks)
    result = np.empty((len(ks), len(points)))
    for rows, d2, bound in blocks(points, points):
        own = np.arange(rows.start, rows.stop)
        d2[own - rows.start, own] = np.inf
        reach = np.partition(d2, k_max - 1, axis=1)[:, k_max - 1, None] + 2.0 * bound
        row, column = _true_places(d2 <= reach)
        exact = pair_distances(points, points, row + rows.start, column)
        order = np.lexsort((exact, row))
        first = np.searchsorted(row, np.arange(len(own)))
        for i, k in enumerate(ks):
            result[i, rows] = exact[order][first + k - 1]
    return result


def nearest(points: Points, count: int) -> tuple[Index, Array]:
    """The `count` nearest other points of every point, in order: indices and squared distances, (n, count) each.

    The candidates of the float32 screen are measured directly, as in `radii`.
    """
    indices = np.empty((len(points), count), dtype=np.intp)
    distances = np.empty((len(points), count))
    for rows, d2, bound in blocks(points, points):
        own = np.arange(rows.start, rows.stop)
        d2[own - rows.start, own] = np.inf
        reach = np.partition(d2, count - 1, axis=1)[:, count - 1, None] + 2.0 * bound
        row, column = _true_places(d2 <= reach)
        exact = pair_distances(points, points, row + rows.start, column)
        order = np.lexsort((exact, row))
        first = np.searchsorted(row, np.arange(len(own)))
        places = order[first[:, None] + np.arange(count)]
        indices[rows], distances[rows] = column[places], exact[places]
    return indices, distances


def closest(x: Points, y: Points) -> tuple[Index, Array]:
    """The nearest point of `y` to every point of `x`: index and squared distance, (n,) each; ties take the first."""
    indices, distances = np.empty(len(x), dtype=np.intp), np.empty(len(x))
    for rows, d2, bound in blocks(x, y):
        row, column = _true_places(d2 <= d2.min(axis=1, keepdims=True) + 2.0 * bound)
        exact = pair_distances(x, y, row + rows.start, column)
        order = np.lexsort((column, exact, row))
        places = order[np.searchsorted(row, np.arange(len(d2)))]
        indices[rows], distances[rows] = column[places], exact[places]
    return indices, distances


def pairs_within(
    x: Points, y: Points, rows: slice, d2: Single, bound: Single, limit: Array, strict: bool
) -> tuple[Index, Index]:
    """Pairs (row of the block, column), in row order, with |x_i − y_j|² below `limit`, or equal to it if not strict.

    `limit` broadcasts to (b, m). One pass over the block finds what may be inside; the rest is work on those pairs.
    """
    # Rounding the limit to float32 costs at most one more ε of it, far below the bound.
    edge = limit.astype(np.float32)
    slack = bound + np.finfo(np.float32).eps * edge
    row, column = _true_places(d2 <= edge + slack)
    at = np.broadcast_to(limit, d2.shape)[row, column]
    near = d2[row, column]
    open_pairs = np.flatnonzero(near >= at.astype(np.float32) - np.broadcast_to(slack, d2.shape)[row, column])
    kept = np.ones(len(row), dtype=bool)
    exact = pair_distances(x, y, row[open_pairs] + rows.start, column[open_pairs])
    kept[open_pairs] = exact < at[open_pairs] if strict else exact <= at[open_pairs]
    return row[kept], column[kept]
