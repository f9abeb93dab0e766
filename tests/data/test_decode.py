"""The one decoding policy: what is taken, what is bent and counted, what is refused."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
from picture_files import chunk, deep_png, encoded, of_classes, pictures, png, write
from PIL import Image, features

from drlbench.data import decode as policy
from drlbench.data.account import Account
from drlbench.data.decode import decode, decode_cropped, suffixes
from drlbench.data.images import open_images
from drlbench.data.sources import load_dataset
from drlbench.errors import IntegrityError, UserError

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # what load_dataset tells

COLOUR = pictures(1, 3)[0]


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bits_are_divided_by_257(channels: int) -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (5, 7, channels))
    deep[..., 3:] = 65535
    deep[0, 0, :3], deep[0, 1, :3] = 65535, 128  # white, and what rounds to 0
    account = Account("here")
    found = decode(deep_png(deep), "a.png", account)
    np.testing.assert_array_equal(found, np.rint(deep[..., :3] / 257))
    assert account.odd[policy.DEEP] == 1
    np.testing.assert_array_equal(decode_cropped(deep_png(deep), "a.png", None, False)[..., :channels][..., :3], found)


def test_16_bit_grey_of_other_formats() -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (5, 7), dtype=np.uint16)
    tiff = io.BytesIO()
    Image.fromarray(deep).save(tiff, "TIFF")
    pgm = b"P5 7 5 65535\n" + deep.astype(">u2").tobytes()
    for content in (tiff.getvalue(), pgm):
        np.testing.assert_array_equal(decode(content, "a")[..., 0], np.rint(deep / 257))


def test_what_has_no_8_bit_meaning_is_refused() -> None:
    for values in (np.zeros((4, 4), np.int32), np.zeros((4, 4), np.float32)):
        out = io.BytesIO()
        Image.fromarray(values).save(out, "TIFF")
        with pytest.raises(UserError, match=r"a\.tif: has more than 8 bits per channel"):
            decode(out.getvalue(), "a.tif")
    grey_alpha = np.full((4, 4, 2), 65535)
    with pytest.raises(UserError, match="16 bits per channel"):
        decode(deep_png(grey_alpha), "a.png")


def test_transparency_is_refused_and_an_opaque_channel_dropped() -> None:
    alpha = np.dstack([COLOUR, np.full((6, 6), 255, np.uint8)])
    account = Account("here")
    np.testing.assert_array_equal(decode(encoded(alpha), "a.png", account), COLOUR)
    assert account.odd[policy.OPAQUE] == 1
    alpha[2, 3, 3] = 254
    with pytest.raises(UserError, match=r"a\.png: has transparent pixels"):
        decode(encoded(alpha), "a.png")
    grey = np.dstack([COLOUR[..., 0], np.full((6, 6), 255, np.uint8)])
    np.testing.assert_array_equal(decode(encoded(grey), "a.png")[..., 0], COLOUR[..., 0])
    palette = Image.fromarray(np.zeros((4, 4, 3), np.uint8)).quantize(2)
    out = io.BytesIO()
    palette.save(out, "PNG", transparency=0)
    with pytest.raises(UserError, match="transparent"):
        decode(out.getvalue(), "p.png")


def test_a_note_of_orientation_is_counted_and_not_followed() -> None:
    exif = Image.Exif()
    exif[policy.ORIENTATION] = 6
    account = Account("here")
    wide = pictures(1, shape=(4, 9, 3))[0]
    found = decode(encoded(wide, "png", exif=exif.tobytes()), "a.png", account)
    np.testing.assert_array_equal(found, wide)
    assert account.odd == {policy.TURNED: 1}
    exif[policy.ORIENTATION] = 1
    decode(encoded(wide, "png", exif=exif.tobytes()), "b.png", account)
    decode(encoded(wide, "png", exif=b"Exif\0\0MM\0*broken"), "c.png", account)
    assert account.odd == {policy.TURNED: 1}


@pytest.mark.parametrize("kind", ["gif", "png", "webp", "tiff"])
def test_of_an_animation_the_first_frame_is_taken(kind: str) -> None:
    frames = [Image.fromarray(np.full((8, 8, 3), v, np.uint8)) for v in (10, 200, 90)]
    out = io.BytesIO()
    frames[0].save(out, kind, save_all=True, append_images=frames[1:], **({"lossless": True} if kind == "webp" else {}))
    account = Account("here")
    assert (decode(out.getvalue(), "a", account) == 10).all()
    assert account.odd[policy.ANIMATED] == 1


def test_other_colour_spaces_become_rgb_and_are_counted() -> None:
    out = io.BytesIO()
    Image.fromarray(COLOUR).convert("CMYK").save(out, "TIFF")
    account = Account("here")
    np.testing.assert_array_equal(decode(out.getvalue(), "a.tif", account), COLOUR)
    assert account.odd == {policy.CONVERTED: 1}


def test_a_picture_counts_once_however_often_it_is_decoded() -> None:
    account = Account("here")
    for _ in range(3):
        decode(deep_png(np.zeros((2, 2, 3))), "a.png", account)
    assert account.odd[policy.DEEP] == 1


def test_everything_that_pillow_reads_counts(tmp_path: Path) -> None:
    kinds = {"jfif": "JPEG", "jpe": "JPEG", "JPG": "JPEG", "apng": "PNG", "jp2": "JPEG2000", "ppm": "PPM", "tga": "TGA"}
    if features.check("avif"):
        kinds["avif"] = "AVIF"
    write(tmp_path, {f"a.{ending}": encoded(COLOUR, kind) for ending, kind in kinds.items()})
    source = open_images(tmp_path)
    assert source.n == len(kinds) == sum(len(batch) for batch in source.batches())
    assert not {".eps", ".pdf", ".wmf", ".mpg"} & suffixes()


def test_what_starts_a_program_is_no_picture() -> None:
    script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n"
    with pytest.raises(IntegrityError, match=r"x\.png: damaged, or not an image"):
        decode(script, "x.png")


def test_messages_show_no_addresses() -> None:
    for content in (b"", b"text", png()[:40], b"GIF89a" + bytes(3), encoded(COLOUR, "jpeg")[:200]):
        with pytest.raises(IntegrityError) as caught:
            decode(content, "x.png")
        assert "0x" not in str(caught.value) and str(caught.value).startswith("x.png: damaged")


def test_any_bytes_give_a_picture_or_a_message() -> None:
    rng = np.random.default_rng(0)
    whole = [encoded(COLOUR, kind) for kind in ("png", "jpeg", "gif", "bmp", "tiff", "webp", "ppm", "tga")]
    for trial in range(400):
        content = bytearray(whole[trial % len(whole)])
        for place in rng.integers(0, len(content), 3):
            content[place] = rng.integers(256)
        try:
            assert decode(bytes(content), "x").dtype == np.uint8
        except UserError as error:
            assert str(error).startswith("x: ")


def test_both_doors_decode_alike(tmp_path: Path) -> None:
    deep = np.random.default_rng(1).integers(0, 65536, (6, 6, 3))
    files = {**of_classes(["a", "b"]), "a/deep.png": deep_png(deep)}
    write(tmp_path, files)
    of_eval = np.concatenate(list(open_images(tmp_path).batches()))
    data = load_dataset({"kind": "folder", "path": str(tmp_path), "held_out": 0.3})
    of_suite = np.concatenate([data.train_images, data.heldout_images])
    assert sorted(i.tobytes() for i in of_eval) == sorted(i.tobytes() for i in of_suite)
    alpha = np.dstack([COLOUR, np.zeros((6, 6), np.uint8)])
    (tmp_path / "b" / "9.png").write_bytes(encoded(alpha))
    for read in (
        lambda: list(open_images(tmp_path).batches()),
        lambda: load_dataset({"kind": "folder", "path": str(tmp_path), "held_out": 0.4}),
    ):
        with pytest.raises(UserError, match=re.escape("9.png: has transparent pixels")):
            read()


def test_the_text_of_a_png_is_bounded() -> None:
    import zlib

    content = png()
    bomb = content[:33] + chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(20_000_000))) + content[33:]
    with pytest.raises(IntegrityError):
        decode(bomb, "x.png")


def test_a_dataset_says_what_was_bent_and_skipped(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[policy.ORIENTATION] = 3
    turned = encoded(COLOUR, "png", exif=exif.tobytes())
    write(tmp_path, {**of_classes(["a", "b"]), "a/x.png": turned, "b/._0.png": b"x"})
    with pytest.warns(UserWarning) as told:
        data = load_dataset({"kind": "folder", "path": str(tmp_path), "held_out": 0.3})
    texts = [str(warning.message) for warning in told]
    assert any("1 of 9 images ask by EXIF to be turned" in text for text in texts)
    assert any("10 seen, 9 used, skipped: 1 left by macOS or Windows" in text for text in texts)
    assert data.accounts[0].document()["odd"] == {policy.TURNED: 1}
