"""Encoded pictures (JPEG, PNG, ...) to uint8 arrays of one size.

Shapes: H, W height and width, C channels.
"""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from drlbench.errors import UserError


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
