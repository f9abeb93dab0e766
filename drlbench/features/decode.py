"""One encoded image to grey levels, refusing what has no 8-bit meaning.

Shapes: b images, H and W height and width, C channels.
"""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from drlbench.errors import IntegrityError, UserError

Images = NDArray[np.uint8]

DECODE_BATCH = 64  # images decoded at once


def decode(content: bytes, where: str) -> Images:
    """(H, W, C) uint8 from an encoded image.

    Raises:
        IntegrityError: the image is damaged. UserError: alpha, 16-bit or another mode that has no 8-bit RGB meaning.
    """
    try:
        with Image.open(io.BytesIO(content)) as image:
            # Pillow cuts 16-bit colour down to 8 bits in silence; only the raw mode of the data tells.
            deep = any(";16" in str(tile[3]) for tile in image.tile)
            image.load()
            mode, transparent = image.mode, "transparency" in image.info
            if mode in ("RGBA", "LA", "PA") or transparent:
                raise UserError(f"{where}: has an alpha channel; flatten it onto a background first")
            if deep or mode.startswith(("I", "F")):
                raise UserError(f"{where}: has more than 8 bits per channel (mode {mode}); convert it to 8-bit first")
            if mode not in ("RGB", "L", "1", "P"):
                raise UserError(f"{where}: colour mode {mode}; convert it to RGB first")
            array = np.asarray(image if mode in ("RGB", "L") else image.convert("L" if mode == "1" else "RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise IntegrityError(f"{where}: damaged or not an image ({error})") from error
    return array[..., None] if array.ndim == 2 else array


def stack(images: list[Images], names: list[str], shape: tuple[int, ...], first: str) -> Images:
    """(b, H, W, C) from images of one size and kind.

    Raises:
        UserError: names the first image that differs from `shape`, which is that of `first`.
    """
    for image, name in zip(images, names, strict=True):
        if image.shape == shape:
            continue
        if image.shape[:2] != shape[:2]:
            raise UserError(
                f"{name} is {image.shape[1]} x {image.shape[0]}, {first} is {shape[1]} x {shape[0]}; bring all "
                f"images to one size first (a resize hidden in a metric would change its value)"
            )
        kinds = {1: "grey", 3: "colour"}
        raise UserError(f"{name} is {kinds[image.shape[2]]}, {first} is {kinds[shape[2]]}; use one kind throughout")
    return np.stack(images)
