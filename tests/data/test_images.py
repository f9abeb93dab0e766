"""Images in every container, and one clear message for each kind of unusable one."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from drlbench.data.images import open_images
from drlbench.errors import IntegrityError, UserError


@pytest.fixture
def array():
    return np.random.default_rng(0).integers(0, 256, (70, 6, 5, 3), dtype=np.uint8)


def read(path, **settings):
    source = open_images(path, **settings)
    found = np.concatenate(list(source.batches()))
    assert found.shape == (source.n, *source.shape)
    return source, found


def png(image):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    return buffer.getvalue()


def write_folder(folder, images):
    folder.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(images):
        (folder / f"{i:04d}.png").write_bytes(png(image))
    return folder


@pytest.mark.parametrize("workers", [1, 2])
def test_folder(tmp_path, array, workers):
    source, found = read(write_folder(tmp_path / "f", array), workers=workers)
    np.testing.assert_array_equal(found, array)
    assert source.labels is None


def test_folder_of_classes(tmp_path, array):
    for c, name in enumerate(("cat", "dog")):
        write_folder(tmp_path / name, array[c::2])
    source, found = read(tmp_path)
    np.testing.assert_array_equal(source.labels, [0] * 35 + [1] * 35)
    np.testing.assert_array_equal(found[:35], array[::2])


def test_grey_palette_and_one_bit_files(tmp_path):
    grey = np.random.default_rng(1).integers(0, 256, (3, 4, 4), dtype=np.uint8)
    _, found = read(write_folder(tmp_path / "grey", grey))
    np.testing.assert_array_equal(found[..., 0], grey)
    (tmp_path / "p").mkdir()
    colours = Image.fromarray(np.full((4, 4, 3), [10, 200, 30], dtype=np.uint8))
    colours.quantize(4).save(tmp_path / "p" / "a.png")
    _, found = read(tmp_path / "p")
    assert (found == np.array([10, 200, 30])).all()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_and_run_samples(tmp_path, array, save):
    labels = np.arange(70) % 4
    save(tmp_path / "a.npz", arr_0=array, arr_1=labels)
    source, found = read(tmp_path / "a.npz")
    np.testing.assert_array_equal(found, array)
    np.testing.assert_array_equal(source.labels, labels)
    (tmp_path / "run").mkdir()
    save(tmp_path / "run" / "samples.npz", images=array, labels=labels)
    np.testing.assert_array_equal(read(tmp_path / "run")[1], array)
    np.save(tmp_path / "a.npy", array)
    np.testing.assert_array_equal(read(tmp_path / "a.npy")[1], array)


def test_parquet_as_on_the_hub(tmp_path, array):
    table = pa.table(
        {
            "image": [{"bytes": png(image), "path": f"{i}.png"} for i, image in enumerate(array)],
            "label": pa.array(range(70), type=pa.int64()),
        }
    )
    (tmp_path / "d").mkdir()
    pq.write_table(table.slice(0, 30), tmp_path / "d" / "train-00000.parquet")
    pq.write_table(table.slice(30), tmp_path / "d" / "train-00001.parquet")
    source, found = read(tmp_path / "d")
    np.testing.assert_array_equal(found, array)
    np.testing.assert_array_equal(source.labels, range(70))
    pq.write_table(pa.table({"x": [1, 2]}), tmp_path / "none.parquet")
    with pytest.raises(UserError, match="no column of encoded images; columns: x"):
        open_images(tmp_path / "none.parquet")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(IntegrityError, match="not readable parquet"):
        open_images(tmp_path / "bad.parquet")


def test_bad_files_in_a_folder(tmp_path, array):
    def fails(change, error, match):
        folder = write_folder(tmp_path / match[:4].strip(), array[:3])
        change(folder / "0001.png")
        with pytest.raises(error, match=match):
            read(folder)

    fails(lambda f: f.write_bytes(f.read_bytes()[:40]), IntegrityError, "damaged")
    fails(lambda f: f.write_bytes(b"text"), IntegrityError, "not an image")
    fails(lambda f: f.write_bytes(png(array[0][:4])), UserError, "is 5 x 4, .* is 5 x 6")
    fails(lambda f: f.write_bytes(png(array[0][..., 0])), UserError, "grey, .* is colour")
    fails(lambda f: f.write_bytes(png(np.dstack([array[0], array[0][..., :1]]))), UserError, "alpha")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no images in it"):
        open_images(tmp_path / "empty")
    with pytest.raises(UserError, match="no such file"):
        open_images(tmp_path / "nowhere")
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(UserError, match="unknown kind"):
        open_images(tmp_path / "a.txt")


@pytest.mark.parametrize(
    ("bad", "match"),
    [
        (np.zeros((2, 4, 4, 3), np.float32), "must be uint8"),
        (np.zeros((2, 3, 4, 4), np.uint8), "transpose"),
        (np.zeros((2, 4, 4, 4), np.uint8), "alpha"),
        (np.zeros((4, 4, 3), np.uint8), "must be \\(n, H, W"),
        (np.zeros((0, 4, 4, 3), np.uint8), "no images"),
        (np.array([np.zeros((2, 2)), np.zeros((3, 3))], dtype=object), "object array"),
        (np.asfortranarray(np.zeros((2, 4, 4, 3), np.uint8)), "Fortran"),
    ],
)
def test_bad_arrays(tmp_path, bad, match):
    np.savez(tmp_path / "a.npz", arr_0=bad)
    with pytest.raises(UserError, match=match):
        open_images(tmp_path / "a.npz")


def test_npz_without_images_or_whole(tmp_path, array):
    np.savez(tmp_path / "a.npz", mu=np.zeros(3), sigma=np.zeros((3, 3)))
    with pytest.raises(UserError, match="arr_0"):
        open_images(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", arr_0=array, labels=np.zeros(3, np.int64))
    with pytest.raises(UserError, match=r"int64 of shape \(3,\)"):
        open_images(tmp_path / "b.npz")
    content = (tmp_path / "b.npz").read_bytes()
    (tmp_path / "b.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(IntegrityError, match="not a readable npz"):
        open_images(tmp_path / "b.npz")
