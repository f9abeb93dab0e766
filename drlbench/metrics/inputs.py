"""Features as the metrics take them: finite float64 matrices, or one clear message."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from drlbench.errors import UserError


def as_features(x: Any, name: str = "features", minimum: int = 2) -> NDArray[np.float64]:
    """Check features and return them as float64 (n, D); torch tensors and numpy arrays are taken alike."""
    return check_features(x, name, minimum).astype(np.float64, copy=False)


def check_features(x: Any, name: str = "features", minimum: int = 2) -> NDArray[np.floating[Any]]:
    """Check features and return them as (n, D) in their own precision, float32 at least.

    Raises:
        UserError: not a numeric matrix, fewer than `minimum` rows, or NaN or infinity inside.
    """
    if hasattr(x, "detach"):
        x = x.detach().cpu()
        x = x.numpy() if x.dtype.itemsize >= 4 else x.float().numpy()
    array = np.asarray(x)
    if array.dtype == object:
        raise UserError(f"{name}: an object array; every sample needs the same number of features in one numeric array")
    if not (np.issubdtype(array.dtype, np.floating) or np.issubdtype(array.dtype, np.integer)):
        raise UserError(f"{name}: dtype {array.dtype}; features must be real numbers")
    if array.ndim != 2 or array.shape[1] == 0:
        raise UserError(f"{name}: shape {array.shape}; features must be (samples, dimensions)")
    if array.shape[0] < minimum:
        raise UserError(f"{name}: {array.shape[0]} sample(s); at least {minimum} are needed")
    if array.dtype not in (np.float32, np.float64):
        array = array.astype(np.float32 if array.dtype == np.float16 else np.float64)
    if not np.isfinite(array).all():
        bad = np.flatnonzero(~np.isfinite(array).all(1))
        raise UserError(f"{name}: {bad.size} sample(s) hold NaN or infinity, the first at index {bad[0]}")
    return array


def same_dimension(a: int, b: int) -> None:
    """Raise UserError unless two feature sets have the same dimension."""
    if a != b:
        raise UserError(f"features of {a} and {b} dimensions cannot be compared; extract both with the same encoder")
