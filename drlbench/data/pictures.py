"""Encoded pictures (JPEG, PNG, ...) to uint8 arrays of one size.

Shapes: H, W height and width, C channels.
"""

from __future__ import annotations

import io
from collections.abc import Iterable

import numpy as np
import psutil
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from drlbench.data.dataset import Images
from drlbench.errors import MissingPrerequisite, UserError


def decode(content: bytes, where: str, size: int | None, grey: bool) -> NDArray[np.uint8]:
    """One picture (H, W, C) uint8, cropped to `size` x `size` where a size is given.

    Raises:
        UserError: the bytes are no picture.
    """
    try:
        with Image.open(io.BytesIO(content)) as opened:
            picture = opened.convert("L" if grey else "RGB")
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{where}: is not a picture that Pillow can read ({error})") from error
    array = np.asarray(centre_crop(picture, size) if size else picture)
    return array[..., None] if grey else array


def centre_crop(picture: Image.Image, size: int) -> Image.Image:
    """The crop that ImageNet generators are trained on (ADM, Dhariwal and Nichol, arXiv 2105.05233).

    The shorter side is halved by box filter while it is at least twice `size`, then brought to `size` by bicubic
    filter, and the middle square is cut out.
    """
    while min(picture.size) >= 2 * size:
        picture = picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.BOX)
    ratio = size / min(picture.size)
    shape = (round(picture.width * ratio), round(picture.height * ratio))
    picture = picture.resize(shape, Image.Resampling.BICUBIC)
    left, top = (picture.width - size) // 2, (picture.height - size) // 2
    return picture.crop((left, top, left + size, top + size))


def stack(pictures: Iterable[tuple[str, bytes]], count: int, size: int | None, grey: bool, where: str) -> Images:
    """Decode `count` named pictures into one array (count, H, W, C).

    Raises:
        UserError: there are none, one cannot be read, or they differ in size and no `size` is set.
        MissingPrerequisite: they would not fit into the memory that is free.
    """
    images: Images | None = None
    for index, (name, content) in enumerate(pictures):
        picture = decode(content, name, size, grey)
        if images is None:
            _check_memory(count * picture.size, where)
            images = np.empty((count, *picture.shape), np.uint8)
        if picture.shape != images.shape[1:]:
            raise UserError(
                f"{name}: is {picture.shape[1]}x{picture.shape[0]}, the first one {images.shape[2]}x{images.shape[1]}; "
                "set `size` to crop all to one size"
            )
        images[index] = picture
    if images is None:
        raise UserError(f"{where}: holds no pictures")
    return images


def _check_memory(needed: int, where: str) -> None:
    free = psutil.virtual_memory().available
    if needed > 0.8 * free:
        raise MissingPrerequisite(
            f"{where}: decoded it takes {needed / 2**30:.1f} GiB of memory and {free / 2**30:.1f} GiB are free; "
            "take a machine with more, a smaller `size`, or fewer pictures"
        )
