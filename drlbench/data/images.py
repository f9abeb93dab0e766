"""Images as users keep them, behind one door: a folder, an npz or npy array, parquet, tar, or a run's samples.

Everything comes out as uint8 (b, H, W, C), C = 1 or 3, in a fixed order, one size throughout. What would silently
change a score (mixed sizes, transparency, floats of unknown range) is refused with what to do instead.

Shapes: n images, b images of a batch, H and W height and width, C channels.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Protocol

import numpy as np

from drlbench.data.account import Account
from drlbench.data.arrays import Header, open_npy, open_npz, read_header
from drlbench.data.classes import Labels
from drlbench.data.decode import Images, OneSize, decode, stack, suffixes
from drlbench.data.folder import open_folder
from drlbench.data.listing import junk, pictures_below
from drlbench.data.npz import IMAGES, image_shape, labels_of, pairs_of
from drlbench.data.parquet import open_parquet, pictures_in
from drlbench.data.splits import Split
from drlbench.data.tar import open_tar
from drlbench.errors import IntegrityError, UserError

PACKED = (".zip", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar")
DECODE_BATCH = 64  # images decoded at once


class ImageSource(Protocol):
    """Images in a fixed order."""

    @property
    def n(self) -> int:
        """How many."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C) of each."""

    @property
    def labels(self) -> Labels | None:
        """(n,) int64, where they are known."""

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """What the labels number, in their order; None where they are bare class indices."""

    @property
    def where(self) -> str:
        """What messages call the source."""

    @property
    def account(self) -> Account:
        """What became of the files."""

    def batches(self) -> Iterator[Images]:
        """All images as (b, H, W, C) uint8."""


@dataclass(frozen=True)
class EncodedImages:
    """Pictures of a folder, of parquet or of tar files, decoded as they are asked for."""

    split: Split
    shape: tuple[int, int, int]
    workers: int = 2

    @property
    def n(self) -> int:
        return len(self.split.source.names)

    @property
    def labels(self) -> Labels | None:
        return self.split.labels

    @property
    def class_names(self) -> tuple[str, ...] | None:
        return self.split.class_names or None

    @property
    def where(self) -> str:
        return self.split.where

    @property
    def account(self) -> Account:
        return self.split.account

    @staticmethod
    def open(split: Split, workers: int = 2) -> EncodedImages:
        """Look at the first image."""
        first = decode(split.source.read([0])[0], split.source.place(0))
        return EncodedImages(split, (first.shape[0], first.shape[1], first.shape[2]), workers)

    def batches(self) -> Iterator[Images]:
        """All images; decoding runs in threads, order and content do not depend on how many."""
        source = self.split.source
        first = source.place(0)
        size = OneSize(
            self.shape[1],
            self.shape[0],
            f"{first} is {self.shape[1]} x {self.shape[0]}; bring all images to one size first (a resize hidden in a "
            "metric would change its value)",
        )
        with ThreadPoolExecutor(max_workers=max(self.workers, 1)) as pool:
            for start in range(0, self.n, DECODE_BATCH):
                part = range(start, min(start + DECODE_BATCH, self.n))
                names = [source.place(k) for k in part]
                contents = source.read(part)
                images = list(pool.map(lambda c, n: decode(c, n, self.account, size), contents, names))
                yield stack(images, names, self.shape[2], first)


@dataclass(frozen=True)
class ArrayImages:
    """Images already in memory."""

    array: Images
    labels: Labels | None = None
    where: str = "array"
    class_names: tuple[str, ...] | None = None
    account: Account = field(default_factory=lambda: Account("array"))

    @property
    def n(self) -> int:
        return len(self.array)

    @property
    def shape(self) -> tuple[int, int, int]:
        height, width, channels = self.array.shape[1:]
        return int(height), int(width), int(channels)

    def batches(self) -> Iterator[Images]:
        """All images."""
        for start in range(0, self.n, DECODE_BATCH):
            yield self.array[start : start + DECODE_BATCH]


@dataclass(frozen=True)
class NpzImages:
    """An image array inside an npz, read piece by piece: 50,000 images need not fit into memory."""

    path: Path
    member: str
    n: int
    shape: tuple[int, int, int]
    labels: Labels | None
    where: str
    account: Account
    class_names: tuple[str, ...] | None = None

    def batches(self) -> Iterator[Images]:
        """All images."""
        size = int(np.prod(self.shape))
        with open_npz(self.path) as archive, archive.file.open(archive.members[self.member]) as stream:
            read_header(stream)
            for start in range(0, self.n, DECODE_BATCH):
                count = min(DECODE_BATCH, self.n - start)
                content = stream.read(count * size)
                if len(content) != count * size:
                    raise IntegrityError(f"{self.where}: ends after {start} of {self.n} images")
                yield np.frombuffer(bytearray(content), dtype=np.uint8).reshape(count, *self.shape)  # writable


def holds_images(path: Path) -> bool:
    """Whether a readable npz has an array under a name that images go by."""
    with open_npz(path) as archive:
        return bool(set(IMAGES) & set(archive.names))


def images_of_npz(path: Path) -> NpzImages:
    """Look into an npz of images, with or without labels; see `drlbench.data.npz` for the names.

    Raises:
        IntegrityError: not a whole npz. UserError: no images inside, or not as `image_shape` wants them.
    """
    account = Account(str(path))
    with open_npz(path) as archive:
        pair, held_out, unused = pairs_of(archive.names, str(path))
        if held_out is not None:
            account.note(f"{pair.images} is taken, {', '.join([held_out.images, *unused])} left aside")
        where = f"{path}[{pair.images}]"
        header = archive.header(pair.images)
        shape = image_shape(where, header)
        if header.fortran:
            raise UserError(f"{where}: is in Fortran order; store it with numpy.ascontiguousarray")
        held = archive.file.getinfo(archive.members[pair.images]).file_size
        if header.nbytes > held:
            raise IntegrityError(f"{where}: its header speaks of {header.shape[0]} images, but it has {held:,} bytes")
        labels, names = labels_of(archive, pair, header.shape[0], account)
    account.use(header.shape[0])
    return NpzImages(path, pair.images, header.shape[0], shape, labels, where, account, names or None)


def open_images(path: Path | str, workers: int = 2) -> ImageSource:
    """Images behind a path: a folder of images, parquet or tar, a run's samples folder, .npz, .npy, .parquet or .tar.

    Where a folder has splits (train/, validation-*.parquet), the train split is taken and that is noted.

    Raises:
        UserError, IntegrityError: nothing usable there; one message says what and what would be right.
    """
    text, path = str(path), Path(path).expanduser()
    if path.is_dir():
        return _of_folder(path, workers)
    suffix = path.suffix.lower()
    if not path.is_file() and not ("*" in text or "?" in text):
        raise UserError(f"{path}: no such file or folder")
    if suffix == ".parquet":
        return EncodedImages.open(open_parquet(text), workers)
    if suffix == ".tar":
        return EncodedImages.open(open_tar(text), workers)
    if suffix == ".npz" and path.is_file():
        return images_of_npz(path)
    if suffix == ".npy" and path.is_file():
        array = open_npy(path)
        shape = image_shape(str(path), Header(array.shape, False, array.dtype))
        account = Account(str(path))
        account.use(len(array))
        return ArrayImages(array.reshape(len(array), *shape), where=str(path), account=account)
    more = "; put a picture into a folder of its own" if suffix in suffixes() else ""
    more = "; unpack it first" if suffix in PACKED else more
    raise UserError(f"{path}: unknown kind of file; give a folder of images, .npz, .npy, .parquet or .tar{more}")


def _of_folder(path: Path, workers: int) -> ImageSource:
    if (path / "samples.npz").is_file():
        return images_of_npz(path / "samples.npz")
    files = {"parquet": pictures_in(path), "tar": sorted(p.name for p in path.glob("*.tar") if not junk(p.name))}
    kinds = [kind for kind, names in files.items() if names]
    if not kinds:
        return EncodedImages.open(open_folder(path), workers)
    pictures = pictures_below(path, Account(str(path)))[0]
    if len(kinds) > 1 or pictures:
        other = files[kinds[1]][0] if len(kinds) > 1 else pictures[0]
        first = PurePosixPath(files[kinds[0]][0])
        raise UserError(
            f"{path}: holds {first} and {other}, which are not pooled; name one: "
            f"`{path / first.parent / '*'}{first.suffix}` or `{path / PurePosixPath(other).parent}`"
        )
    reader = open_parquet if kinds == ["parquet"] else open_tar
    return EncodedImages.open(reader(str(path)), workers)
