"""What every reader of encoded images gives: a source, its labels, and what a fingerprint is made from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from drlbench.data.account import Account
from drlbench.data.classes import Labels


class Source(Protocol):
    """Encoded images in a fixed order."""

    @property
    def names(self) -> Sequence[str]:
        """What each image is called, unique, the same wherever the files lie."""

    def read(self, indices: Sequence[int]) -> list[bytes]:
        """The encoded images of these indices, in their order."""

    def place(self, index: int) -> str:
        """Where an image lies, for messages: its file, or shard and row or member."""


@dataclass(frozen=True)
class Split:
    """One set of images.

    Attributes:
        labels: (N,) int64, None where the files tell none.
        sizes: bytes of each image where listing tells them, else of each file that holds them.
        class_names: what the labels number, in their order; empty where they are bare class indices.
        where: what messages call it.
        account: what became of the files.
        indexed: whether the labels are stored as numbers, so that they mean an index by themselves.
        seal: what else the files tell about their content without being read (a parquet footer).
    """

    source: Source
    labels: Labels | None
    sizes: Sequence[int]
    class_names: tuple[str, ...]
    where: str
    account: Account
    indexed: bool = False
    seal: str = ""

    def fingerprint(self) -> bytes:
        """Digest of names, sizes, labels and seal, not of the pixels: that an image was changed in place into another
        of the same size goes unnoticed. Modification times are left out, so a copy has the same fingerprint."""
        digest = hashlib.sha256(self.seal.encode())
        labels = [] if self.labels is None else self.labels.tolist()
        for items in (self.source.names, self.sizes, labels, self.class_names):
            digest.update("\0".join(map(str, items)).encode("utf-8", "surrogateescape") + b"\1")
        return digest.digest()


class Subset:
    """Some images of a source."""

    def __init__(self, source: Source, rows: Sequence[int]) -> None:
        self.inner, self.rows = source, rows
        self.names = [source.names[row] for row in rows]

    def read(self, indices: Sequence[int]) -> list[bytes]:
        """See `Source`."""
        return self.inner.read([int(self.rows[index]) for index in indices])

    def place(self, index: int) -> str:
        """See `Source`."""
        return self.inner.place(int(self.rows[index]))
