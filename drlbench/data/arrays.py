"""Arrays in .npy and .npz files, read only as far as they really go: a header may claim anything.

Shapes are as stored.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from drlbench.errors import IntegrityError

LARGE = 64_000_000  # bytes; what is larger and unpacks from a hundredth or less is no measurement
EXPANSION = 100
# What numpy and zipfile raise on files that are damaged or lie.
DAMAGE = (
    zipfile.BadZipFile, EOFError, OSError, ValueError, KeyError, RuntimeError, NotImplementedError, OverflowError,
    MemoryError, SyntaxError, TypeError, RecursionError, TokenError, zlib.error,
)  # fmt: skip


@dataclass(frozen=True)
class Header:
    """What a .npy says of itself."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]

    @property
    def nbytes(self) -> int:
        """Of the data."""
        size = self.dtype.itemsize
        for side in self.shape:
            size *= side
        return size


def read_header(stream: IO[bytes]) -> Header:
    """The header of a .npy stream, which is left at its data.

    Raises:
        ValueError: it is none.
    """
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(stream)
    if any(side < 0 for side in shape):
        raise ValueError(f"a shape of {shape}")
    return Header(shape, fortran, dtype)


class Archive:
    """An open npz; `names` are its arrays."""

    def __init__(self, path: Path, file: zipfile.ZipFile) -> None:
        self.path, self.file = path, file
        self.members = {n.removesuffix(".npy"): n for n in file.namelist() if n.endswith(".npy")}
        self.names = list(self.members)

    def header(self, name: str) -> Header:
        """The header of an array."""
        with self.file.open(self.members[name]) as stream:
            return read_header(stream)

    def read(self, name: str) -> NDArray[Any]:
        """An array.

        Raises:
            IntegrityError: it is not as large as its header says, unpacks from next to nothing, or holds objects.
        """
        entry = self.file.getinfo(self.members[name])
        with self.file.open(entry) as stream:
            header = read_header(stream)
            if header.dtype.hasobject:
                raise IntegrityError(f"{self.path}[{name}]: an array of objects, which would have to be unpickled")
            if header.nbytes > entry.file_size:
                raise IntegrityError(
                    f"{self.path}[{name}]: its header speaks of {header.shape} {header.dtype}, "
                    f"{header.nbytes:,} bytes, but it has {entry.file_size:,}"
                )
            if header.nbytes > LARGE and header.nbytes > EXPANSION * entry.compress_size:
                raise IntegrityError(
                    f"{self.path}[{name}]: {entry.compress_size:,} bytes that unpack to {header.nbytes:,}; "
                    "it is not read"
                )
            content = stream.read(header.nbytes)
            if len(content) != header.nbytes:
                raise IntegrityError(f"{self.path}[{name}]: ends after {len(content)} of {header.nbytes} bytes")
        flat = np.frombuffer(bytearray(content), dtype=header.dtype)
        return flat.reshape(header.shape, order="F" if header.fortran else "C")


@contextmanager
def open_npz(path: Path, what: str = "npz of plain arrays") -> Iterator[Archive]:
    """An npz, whatever goes wrong while it is open being told as damage.

    Raises:
        IntegrityError: not a whole npz of plain arrays.
    """
    try:
        with zipfile.ZipFile(path) as file:
            yield Archive(path, file)
    except DAMAGE as error:
        raise IntegrityError(f"{path}: not a readable {what} ({_words(error)})") from error


def open_npy(path: Path) -> NDArray[Any]:
    """A .npy, mapped and not read; changes stay in memory.

    Raises:
        IntegrityError: it is not as large as its header says, or holds objects.
    """
    try:
        with path.open("rb") as stream:
            header = read_header(stream)
            start = stream.tell()
        if header.dtype.hasobject:
            raise IntegrityError(f"{path}: not a readable npy without objects (it would have to be unpickled)")
        if start + header.nbytes > path.stat().st_size:
            raise IntegrityError(
                f"{path}: not a readable npy: its header speaks of {header.shape} {header.dtype}, {header.nbytes:,} "
                f"bytes, but the file has {path.stat().st_size:,}"
            )
        order: Any = "F" if header.fortran else "C"
        if not header.nbytes:
            return np.zeros(header.shape, header.dtype, order=order)
        return np.memmap(path, header.dtype, "c", start, header.shape, order)
    except DAMAGE as error:
        raise IntegrityError(f"{path}: not a readable npy without objects ({_words(error)})") from error


def _words(error: BaseException) -> str:
    text = str(error)
    return text[:120] if text and "object at 0x" not in text else type(error).__name__
