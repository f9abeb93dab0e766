"""One encoded picture to grey levels: the one policy by which everything here decodes.

| picture | what is done |
|---|---|
| 8-bit grey or RGB, palette, 1 bit | taken as they are (palette to RGB, 1 bit to grey) |
| 16 bits a channel (PNG, PGM, grey TIFF) | round(v / 257), counted |
| alpha | refused where a pixel is transparent; an opaque alpha channel is dropped, counted |
| CMYK, YCbCr, Lab, HSV | Pillow's conversion to RGB, counted |
| EXIF orientation | not applied: pixels as stored, as ADM, torch-fidelity and clean-fid read them; counted |
| animation, several pages | the first frame, counted |
| over 40 megapixels (16 of 16-bit colour), floats, 32-bit integers | refused |

Shapes: H and W height and width, C channels.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from drlbench.data.account import Account
from drlbench.errors import IntegrityError, UserError

Images = NDArray[np.uint8]

MAX_PIXELS = 40_000_000  # 8K video has 33 million; decoding one picture must not need hundreds of megabytes
MAX_DEEP = 16_000_000  # of 16-bit colour, which is held twice
POINTER = b"version https://git-lfs"
ORIENTATION = 0x0112  # EXIF
# Formats that Pillow reads by itself. EPS, WMF and the like are programs or start one; the others hold no photographs.
FORMATS = (
    "PNG", "JPEG", "MPO", "WEBP", "AVIF", "JPEG2000", "GIF", "BMP", "DIB", "TIFF", "PPM", "TGA", "QOI", "PCX", "SGI",
    "DDS", "ICO",
)  # fmt: skip
# One byte of a 16-bit channel is all that Pillow keeps of colour; the raw mode says which one.
LOW_BYTES = {"RGB;16B": "RGB;16L", "RGBA;16B": "RGBA;16L"}

TURNED = "ask by EXIF to be turned and are taken as stored"
ANIMATED = "are animations or have several pages; the first frame is taken"
DEEP = "have 16 bits per channel and are divided by 257"
OPAQUE = "have an alpha channel that is opaque everywhere; it is dropped"
CONVERTED = "are in another colour space (CMYK, YCbCr, Lab) and are converted to RGB"

# A picture over the limit is refused with a message of our own.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")  # about broken notes inside a picture


@cache
def suffixes() -> frozenset[str]:
    """Endings, in lower case with their dot, of files that are read as pictures."""
    Image.init()
    return frozenset(ending for ending, kind in Image.EXTENSION.items() if kind in FORMATS)


@cache
def _readers() -> tuple[str, ...]:
    """Formats under which Pillow opens files here (AVIF is not in every build; MPO opens as JPEG)."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


@dataclass(frozen=True)
class OneSize:
    """The size that all pictures of a set have to have, told from their headers, and what a message says of another."""

    width: int
    height: int
    otherwise: str

    def check(self, size: tuple[int, int], where: str) -> None:
        """Raise UserError unless a picture has the size."""
        if size != (self.width, self.height):
            raise UserError(f"{where} is {size[0]} x {size[1]}, {self.otherwise}")


def open_picture(
    content: bytes, where: str, account: Account | None = None, size: OneSize | None = None
) -> Image.Image:
    """A decoded picture in mode L or RGB.

    Args:
        content: the encoded picture.
        where: what messages call it.
        account: counts what the policy changes or bends.
        size: refuse another one before it is decoded.

    Raises:
        IntegrityError: damaged, or no picture. UserError: transparency, another size, or a kind that has no 8-bit
            meaning.
    """
    try:
        with Image.open(io.BytesIO(content), formats=_readers()) as image:
            _check_size(image.size, where, MAX_PIXELS)
            if size is not None:
                size.check(image.size, where)
            packed = {_raw_mode(tile[3]) for tile in image.tile}  # gone once the picture is loaded, as for its EXIF
            odd = {TURNED: _turned(image), ANIMATED: image.format != "MPO" and getattr(image, "is_animated", False)}
            picture, more = _flat(image, content, {m for m in packed if ";16" in m}, where)
    except UserError:
        raise
    except Image.DecompressionBombError as error:
        raise UserError(f"{where}: more pixels than the {MAX_PIXELS // 10**6} million that are read") from error
    except UnidentifiedImageError as error:
        lfs = ": a Git LFS pointer in its place (`git lfs pull` brings it)" if content[:40].startswith(POINTER) else ""
        raise IntegrityError(f"{where}: damaged, or not an image that Pillow knows{lfs}") from error
    except Exception as error:  # Pillow's readers raise errors of any kind on damaged files
        raise IntegrityError(f"{where}: damaged, or not an image ({_reason(error)})") from error
    if account is not None:
        for kind in [kind for kind, found in odd.items() if found] + more:
            account.mark(kind, where)
    return picture


def decode(content: bytes, where: str, account: Account | None = None, size: OneSize | None = None) -> Images:
    """(H, W, C) uint8, C = 1 or 3, of an encoded picture; arguments and errors as for `open_picture`."""
    array = np.asarray(open_picture(content, where, account, size))
    return array[..., None] if array.ndim == 2 else array


def decode_cropped(
    content: bytes,
    where: str,
    crop: int | None,
    grey: bool,
    account: Account | None = None,
    size: OneSize | None = None,
) -> Images:
    """(H, W, C) uint8 with C as wanted, cropped to `crop` x `crop` where that is given; errors as `open_picture`."""
    picture, mode = open_picture(content, where, account, size), "L" if grey else "RGB"
    picture = picture if picture.mode == mode else picture.convert(mode)
    array = np.asarray(centre_crop(picture, crop) if crop else picture)
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


def stack(images: list[Images], names: list[str], channels: int, first: str) -> Images:
    """(b, H, W, C) from images of one size.

    Raises:
        UserError: names the first image that is grey where `first` is in colour, or the other way round.
    """
    kinds = {1: "grey", 3: "colour"}
    for image, name in zip(images, names, strict=True):
        if image.shape[2] != channels:
            raise UserError(f"{name} is {kinds[image.shape[2]]}, {first} is {kinds[channels]}; use one kind throughout")
    return np.stack(images)


def _check_size(size: tuple[int, int], where: str, most: int) -> None:
    if size[0] * size[1] > most:
        raise UserError(
            f"{where}: is {size[0]} x {size[1]}, more pixels than the {most // 10**6} million that are read; "
            "make it smaller first, or remove it"
        )


def _turned(image: Image.Image) -> bool:
    try:
        return image.getexif().get(ORIENTATION, 1) in range(2, 9)
    except Exception:  # a broken note about a picture does not break the picture
        return False


def _flat(image: Image.Image, content: bytes, deep: set[str], where: str) -> tuple[Image.Image, list[str]]:
    """The picture in mode L or RGB, and what had to be done for it."""
    if deep:
        _check_size(image.size, where, MAX_DEEP)
    image.load()
    mode = image.mode
    if mode.startswith("I;16") or (mode == "I" and image.format in ("PNG", "PPM")):
        if image.format not in ("PNG", "PPM", "TIFF"):
            raise UserError(f"{where}: has more than 8 bits per channel (mode {mode}); convert it to 8-bit first")
        return Image.fromarray(_divided(np.asarray(image))), [DEEP]
    if mode in ("I", "F"):
        raise UserError(f"{where}: has more than 8 bits per channel (mode {mode}); convert it to 8-bit first")
    done = []
    if deep:
        image = _all_bits(image, content, deep, where)
        done.append(DEEP)
    if mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        if image.convert("RGBA").getchannel("A").getextrema() != (255, 255):
            raise UserError(f"{where}: has transparent pixels (alpha); flatten it onto a background first")
        image = image.convert("L" if mode in ("LA", "La", "L") else "RGB")
        done.append(OPAQUE)
    elif mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        image = image.convert("RGB")
        done.append(CONVERTED)
    if image.mode in ("L", "RGB"):
        return image, done
    if image.mode not in ("1", "P", "RGBX"):
        raise UserError(f"{where}: colour mode {image.mode}; convert it to RGB first")
    return image.convert("L" if image.mode == "1" else "RGB"), done


def _raw_mode(arguments: object) -> str:
    """How a tile's channels are packed: an argument of Pillow's decoder, or the first of several."""
    return str(arguments[0]) if isinstance(arguments, tuple) and arguments else str(arguments)


def _all_bits(image: Image.Image, content: bytes, packed: set[str], where: str) -> Image.Image:
    """16-bit colour divided by 257; Pillow keeps one byte of each channel, so the other is read by a second pass."""
    low = LOW_BYTES.get(next(iter(packed))) if len(packed) == 1 and image.format == "PNG" else None
    if low is None:
        raise UserError(f"{where}: has 16 bits per channel ({', '.join(sorted(packed))}); convert it to 8-bit first")
    with Image.open(io.BytesIO(content), formats=("PNG",)) as other:
        other.tile = [(*tile[:3], low) for tile in other.tile]  # type: ignore[misc] # plain tuples serve as well
        other.load()
        return Image.fromarray(_divided(np.asarray(image).astype(np.uint16) << 8 | np.asarray(other)))


def _divided(values: NDArray[Any]) -> Images:
    """round(v / 257), which brings 0..65535 to 0..255."""
    table: Images = ((np.arange(1 << 16) + 128) // 257).astype(np.uint8)
    return table[values.astype(np.uint16, copy=False)]


def _reason(error: Exception) -> str:
    """The reader's own words, without addresses of our buffers."""
    text = str(error)
    return type(error).__name__ if "object at 0x" in text or not text else text[:200]
