"""Images that lie as uint8 in a file or in encoded form, seen by a training loop as float tensors on its device.

Shapes: N images, B picked ones, C channels, H and W height and width.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from drlbench.data.lazy import LazyImages
from drlbench.training import to_float

Stored = NDArray[np.uint8] | LazyImages


class StoredPixels:
    """What a discriminator needs of a tensor (N, C, H, W) float32 in [0, 1]: length, picked rows, slices in order.

    Args:
        images: (M, H, W, C) uint8.
        rows: (N,) which of them.
        device: where picked images are put.
    """

    def __init__(self, images: Stored, rows: NDArray[np.int64], device: str) -> None:
        self.images, self.rows, self.device = images, rows, torch.device(device)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, which: Tensor) -> Tensor:
        """Images (B, C, H, W)."""
        return self._tensor(np.asarray(self.images[self.rows[which.cpu().numpy()]]))

    def split(self, size: int) -> Iterator[Tensor]:
        """All images in order, (B, C, H, W) at a time; read in passing, so none is kept."""
        for start in range(0, len(self.rows), size):
            rows = self.rows[start : start + size]
            # Runs of neighbours are slices, which the store reads without keeping them.
            runs = np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1)
            yield self._tensor(np.concatenate([np.asarray(self.images[run[0] : run[-1] + 1]) for run in runs]))

    def clamp(self, low: float, high: float) -> StoredPixels:
        """Itself: stored images never leave [0, 1]."""
        del low, high
        return self

    def _tensor(self, images: NDArray[np.uint8]) -> Tensor:
        return to_float(images).to(self.device)


def keep_on_disk(batches: Iterable[NDArray[np.uint8]], count: int, path: Path) -> NDArray[np.uint8]:
    """Batches (b, H, W, C) uint8, `count` images in all, as one array on disk that is read piece by piece."""
    path.parent.mkdir(parents=True, exist_ok=True)
    store: Any = None
    done = 0
    for batch in batches:
        if store is None:
            store = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(count, *batch.shape[1:]))
        store[done : done + len(batch)] = batch
        done += len(batch)
    store.flush()
    return np.load(path, mmap_mode="r", allow_pickle=False)
