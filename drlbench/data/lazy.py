"""Encoded images that are decoded when they are asked for, so that a data set of any size fits into memory.

Shapes: N images, H and W height and width, C channels, b images of a batch.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from drlbench.data.account import Account
from drlbench.data.decode import OneSize, decode_cropped
from drlbench.data.splits import Source
from drlbench.errors import MissingPrerequisite

Images = NDArray[np.uint8]

KEPT_BYTES = 1_500_000_000  # of decoded images picked one by one, which a training loop asks for again
BATCH = 256
WORKERS = 8


class LazyImages:
    """To a stage it looks like a uint8 array (N, H, W, C): length, shape, slices and picked rows.

    Args:
        source: where the encoded images come from.
        crop: side in pixels that all are cropped to; None takes them as they are, all of one size.
        grey: one channel instead of three.
        where: what messages call the data.
        account: counts what the decoding policy changes or bends.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(
        self, source: Source, crop: int | None, grey: bool, where: str, account: Account | None = None
    ) -> None:
        self.source, self.crop, self.grey, self.where, self.account = source, crop, grey, where, account
        self.shape = (0, 0, 0, 0)
        first = (crop, crop) if crop else self._decode(source.read([0])[0], 0).shape[:2]
        self.shape = (len(source.names), *first, 1 if grey else 3)
        self._kept: OrderedDict[int, Images] = OrderedDict()

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        """Of all images, decoded."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def size(self) -> int:
        return self.nbytes

    def __getitem__(self, which: slice | NDArray[Any] | Sequence[int]) -> Images:
        """Images (b, H, W, C); picked ones are kept for the next time, slices are not."""
        if isinstance(which, slice):
            return self._load(range(*which.indices(len(self))))
        rows = np.arange(len(self))[np.asarray(which)].tolist()
        missing = sorted({row for row in rows if row not in self._kept})
        if missing:
            for row, image in zip(missing, self._load(missing), strict=True):
                self._kept[row] = image
        picked = np.stack([self._kept[row] for row in rows]) if rows else np.zeros((0, *self.shape[1:]), np.uint8)
        for row in rows:
            self._kept.move_to_end(row)
        while len(self._kept) * int(np.prod(self.shape[1:])) > KEPT_BYTES:
            self._kept.popitem(last=False)
        return picked

    def batches(self, size: int = BATCH) -> Iterator[Images]:
        """All images in order, (b, H, W, C) at a time."""
        for start in range(0, len(self), size):
            yield self[start : start + size]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Images:
        """All images at once, where memory allows.

        Raises:
            MissingPrerequisite: they do not fit.
        """
        free = psutil.virtual_memory().available
        if self.nbytes > 0.8 * free:
            raise MissingPrerequisite(
                f"{self.where}: all {len(self):,} images at once need {self.nbytes / 1e9:.1f} GB of memory and "
                f"{free / 1e9:.1f} GB are free; what asks for all of them (training an encoder or a base here, "
                "supervised fine-tuning) needs a machine with more, or fewer or smaller images"
            )
        return np.concatenate(list(self.batches()))

    def keys(self) -> list[bytes]:
        """A hash per image that depends on its name alone."""
        return [hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest() for name in self.source.names]

    def _load(self, indices: Sequence[int]) -> Images:
        parts = []
        with ThreadPoolExecutor(WORKERS) as pool:
            for start in range(0, len(indices), BATCH):
                part = list(indices[start : start + BATCH])
                parts.append(np.stack(list(pool.map(self._decode, self.source.read(part), part))))
        return np.concatenate(parts) if parts else np.zeros((0, *self.shape[1:]), np.uint8)

    def _decode(self, content: bytes, index: int) -> Images:
        size = None
        if self.shape[0] and not self.crop:
            told = f"the first one {self.shape[2]} x {self.shape[1]}; set `size` to crop all to one size"
            size = OneSize(self.shape[2], self.shape[1], told)
        return decode_cropped(content, self.source.place(index), self.crop, self.grey, self.account, size)
