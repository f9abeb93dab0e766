"""Small files of pictures for tests of the readers."""

from __future__ import annotations

import io
import struct
import tarfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def pictures(count: int, seed: int = 0, shape: tuple[int, ...] = (6, 6, 3)) -> np.ndarray:
    """Random uint8 images (count, *shape)."""
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def encoded(image: np.ndarray, kind: str = "png", **settings: Any) -> bytes:
    """One image as a file's content."""
    out = io.BytesIO()
    Image.fromarray(image).save(out, format=kind, **settings)
    return out.getvalue()


def png(seed: int = 0, shape: tuple[int, ...] = (6, 6, 3)) -> bytes:
    """A random PNG."""
    return encoded(pictures(1, seed, shape)[0])


def chunk(kind: bytes, content: bytes) -> bytes:
    """A PNG chunk."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def deep_png(values: np.ndarray) -> bytes:
    """A PNG of 16 bits per channel from (H, W, C), C = 1 to 4, which Pillow cannot write."""
    height, width, channels = values.shape
    lines = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


def write(root: Path, files: dict[str, bytes]) -> Path:
    """Files below a folder by their paths."""
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    root.mkdir(parents=True, exist_ok=True)
    return root


def write_tar(path: Path, files: dict[str, bytes]) -> Path:
    """A tar of files by their paths."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def of_classes(classes: list[str], count: int = 4, below: str = "") -> dict[str, bytes]:
    """`count` pictures in each class folder, `below/class/i.png`."""
    return {f"{below}{name}/{i}.png": png(97 * k + i) for k, name in enumerate(classes) for i in range(count)}
