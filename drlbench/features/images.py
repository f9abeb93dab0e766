"""Images as users keep them: a folder, an npz or npy array, parquet of encoded images, or a run's samples.

Everything comes out as uint8 (b, H, W, C), C = 1 or 3, in a fixed order, one size throughout. What would silently
change a score (mixed sizes, alpha, 16 bits, floats of unknown range) is refused with what to do instead.

Shapes: n images, b images of a batch, H and W height and width, C channels.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from drlbench.errors import IntegrityError, UserError
from drlbench.features.decode import DECODE_BATCH, Images, decode, stack
from drlbench.features.parquet import Labels, open_parquet

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".gif")
IMAGE_KEYS, LABEL_KEYS = ("arr_0", "images", "samples"), ("arr_1", "labels", "label", "y")


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
    def where(self) -> str:
        """What messages call the source."""

    def batches(self) -> Iterator[Images]:
        """All images as (b, H, W, C) uint8."""


@dataclass(frozen=True)
class FolderImages:
    """Image files of a folder in the order of their names; folders directly inside it are classes."""

    files: tuple[Path, ...]
    shape: tuple[int, int, int]
    labels: Labels | None
    where: str
    workers: int = 2

    @property
    def n(self) -> int:
        return len(self.files)

    @staticmethod
    def open(folder: Path, workers: int = 2) -> FolderImages:
        """List the folder and look at its first image.

        Raises:
            UserError: no images inside.
        """
        files = tuple(sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file()))
        if not files:
            raise UserError(f"{folder}: no images inside ({', '.join(SUFFIXES)})")
        parents = [f.relative_to(folder).parts for f in files]
        labels = None
        if all(len(parts) == 2 for parts in parents):
            names = sorted({parts[0] for parts in parents})
            labels = np.array([names.index(parts[0]) for parts in parents], dtype=np.int64)
        first = decode(files[0].read_bytes(), str(files[0]))
        return FolderImages(files, first.shape, labels, str(folder), workers)

    def batches(self) -> Iterator[Images]:
        """All images; decoding runs in threads, order and content do not depend on how many."""
        with ThreadPoolExecutor(max_workers=max(self.workers, 1)) as pool:
            for start in range(0, self.n, DECODE_BATCH):
                part = self.files[start : start + DECODE_BATCH]
                images = list(pool.map(lambda f: decode(f.read_bytes(), str(f)), part))
                yield stack(images, [str(f) for f in part], self.shape, str(self.files[0]))


@dataclass(frozen=True)
class ArrayImages:
    """Images already in memory."""

    array: Images
    labels: Labels | None = None
    where: str = "array"

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

    def batches(self) -> Iterator[Images]:
        """All images."""
        size = int(np.prod(self.shape))
        with zipfile.ZipFile(self.path) as archive, archive.open(self.member) as stream:
            read_header(stream)
            for start in range(0, self.n, DECODE_BATCH):
                count = min(DECODE_BATCH, self.n - start)
                content = stream.read(count * size)
                if len(content) != count * size:
                    raise IntegrityError(f"{self.where}: ends after {start} of {self.n} images")
                yield np.frombuffer(bytearray(content), dtype=np.uint8).reshape(count, *self.shape)  # writable


def read_header(stream: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, Fortran order and dtype of a .npy stream, which is left at its data."""
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(stream)
    return np.lib.format.read_array_header_2_0(stream)


def check_array(where: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Refuse what is not uint8 (n, H, W, 1 or 3).

    Raises:
        UserError: says what is wrong and how to convert.
    """
    if dtype.hasobject:
        raise UserError(f"{where}: an object array (images of different sizes?); store one uint8 array (n, H, W, C)")
    if dtype != np.uint8:
        raise UserError(f"{where}: dtype {dtype}; images must be uint8 0..255 (for floats in [0, 1]: round(255 x))")
    if len(shape) == 4 and shape[-1] == 4:
        raise UserError(f"{where}: shape {shape}: four channels; flatten alpha onto a background first")
    if len(shape) == 4 and shape[1] in (1, 3) and shape[-1] not in (1, 3):
        raise UserError(f"{where}: shape {shape} looks like (n, C, H, W); transpose to (n, H, W, C)")
    if len(shape) != 4 or shape[-1] not in (1, 3):
        raise UserError(f"{where}: shape {shape}; images must be (n, H, W, 1 or 3)")
    if not shape[0]:
        raise UserError(f"{where}: holds no images")


def holds_images(path: Path) -> bool:
    """Whether a readable npz has an array under a name that images go by."""
    with np.load(path, allow_pickle=False) as file:
        return bool(set(IMAGE_KEYS) & set(file.files))


def open_npz(path: Path) -> NpzImages:
    """Look into an npz: images under arr_0, images or samples (or the only array), labels under arr_1 or labels.

    Raises:
        IntegrityError: not a whole npz. UserError: no images inside, or not as `check_array` wants them.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = {name.removesuffix(".npy"): name for name in archive.namelist() if name.endswith(".npy")}
            key = next((k for k in IMAGE_KEYS if k in members), None)
            if key is None and len(members) == 1:
                key = next(iter(members))
            if key is None:
                raise UserError(f"{path}: holds {', '.join(members) or 'nothing'}; images are looked for under arr_0")
            with archive.open(members[key]) as stream:
                shape, fortran, dtype = read_header(stream)
        where = f"{path}[{key}]"
        check_array(where, shape, dtype)
        if fortran:
            raise UserError(f"{where}: is in Fortran order; store it with numpy.ascontiguousarray")
        label_key = next((k for k in LABEL_KEYS if k in members), None)
        labels = None
        if label_key is not None:
            with np.load(path, allow_pickle=False) as file:
                found = file[label_key]
            if found.shape != shape[:1] or not np.issubdtype(found.dtype, np.integer):
                raise UserError(
                    f"{path}[{label_key}]: {found.dtype} of shape {found.shape}; need {shape[0]} int labels"
                )
            labels = found.astype(np.int64)
    except (zipfile.BadZipFile, EOFError, OSError, ValueError) as error:
        raise IntegrityError(f"{path}: not a readable npz ({error})") from error
    return NpzImages(path, members[key], shape[0], (shape[1], shape[2], shape[3]), labels, where)


def open_images(path: Path | str, workers: int = 2) -> ImageSource:
    """Images behind a path: a folder of images or parquet, a run's samples folder, .npz, .npy or .parquet.

    Raises:
        UserError, IntegrityError: nothing usable there; one message says what and what would be right.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        if (path / "samples.npz").is_file():
            return open_npz(path / "samples.npz")
        if any(path.glob("*.parquet")):
            return open_parquet(path)
        return FolderImages.open(path, workers)
    if not path.is_file():
        raise UserError(f"{path}: no such file or folder")
    if path.suffix == ".npz":
        return open_npz(path)
    if path.suffix == ".parquet":
        return open_parquet(path)
    if path.suffix == ".npy":
        try:
            array = np.load(path, mmap_mode="c", allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise IntegrityError(f"{path}: not a readable npy without objects ({error})") from error
        check_array(str(path), array.shape, array.dtype)
        return ArrayImages(array, where=str(path))
    raise UserError(f"{path}: unknown kind of file; give a folder of images, .npz, .npy or .parquet")
