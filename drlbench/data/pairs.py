"""Preference pairs: two images of one class and which of them was preferred.

Shapes: N pairs, H height, W width, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drlbench.data.arrays import open_npz
from drlbench.data.dataset import Images, Labels, check_images, check_labels
from drlbench.errors import MissingPrerequisite, UserError, did_you_mean

KEYS = ("first", "second", "labels", "winner")


@dataclass(frozen=True)
class Pairs:
    """A table of comparisons.

    Attributes:
        name: how reports call it; a synthetic one says so.
        first, second: (N, H, W, C) uint8.
        labels: (N,) int64 class of both images.
        winner: (N,) int64, 0 where the first was preferred and 1 where the second was.
    """

    name: str
    first: Images
    second: Images
    labels: Labels
    winner: NDArray[np.int64]

    def __post_init__(self) -> None:
        check_images(f"{self.name}, first", self.first)
        check_images(f"{self.name}, second", self.second)
        if self.first.shape != self.second.shape:
            raise UserError(f"{self.name}: first images are {self.first.shape}, second ones {self.second.shape}")
        check_labels(f"{self.name}, labels", self.labels, len(self.first), int(self.labels.max(initial=0)) + 1)
        check_labels(f"{self.name}, winner", self.winner, len(self.first), 2)


def load_pairs(path: Path) -> Pairs:
    """Read pairs from an npz with the arrays `first`, `second`, `labels` and `winner`.

    Raises:
        MissingPrerequisite: no such file. UserError: not an npz of plain arrays, or not those arrays.
    """
    if not path.is_file():
        raise MissingPrerequisite(f"{path}: no such file; preference pairs are an npz with {', '.join(KEYS)}")
    with open_npz(path) as archive:
        for key in KEYS:
            if key not in archive.names:
                near = did_you_mean(key, archive.names)
                raise UserError(f"{path}: has no array {key!r}{near}; needed: {', '.join(KEYS)}")
        arrays = {key: archive.read(key) for key in KEYS}
    labels, winner = (arrays[key].astype(np.int64) for key in ("labels", "winner"))
    return Pairs(path.stem, arrays["first"], arrays["second"], labels, winner)
