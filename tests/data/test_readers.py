"""Datasets read from image folders and from parquet, through the suite's `data` entry."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from drlbench.data.decode import centre_crop
from drlbench.data.sources import check_data, load_dataset
from drlbench.errors import IntegrityError, MissingPrerequisite, UserError

NAMES = ["cat", "dog"]


def pictures(count: int, seed: int = 0, shape: tuple[int, ...] = (6, 6, 3)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def png(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(array).save(out, format="png")
    return out.getvalue()


def write_folder(path: Path, images: np.ndarray) -> None:
    for i, image in enumerate(images):
        target = path / NAMES[i % 2] / f"{i:03d}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(png(image))


def write_parquet(path: Path, images: np.ndarray, names: list[str] | None = None, column: str = "img") -> None:
    rows = [{"bytes": png(image), "path": None} for image in images]
    labels = pa.array([i % 2 for i in range(len(images))], pa.int64())
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({column: pa.array(rows, kind), "label": labels})
    if names:
        record = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(record)})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def test_folders_and_parquet_hold_the_same_dataset(tmp_path: Path) -> None:
    images = pictures(20)
    write_folder(tmp_path / "pets", images)
    write_parquet(tmp_path / "pets.parquet", images, NAMES)
    folder = load_dataset({"kind": "folder", "path": str(tmp_path / "pets")})
    parquet = load_dataset({"kind": "parquet", "path": str(tmp_path / "pets.parquet")})
    for data in (folder, parquet):
        assert data.class_names == ("cat", "dog") and data.image_shape == (3, 6, 6)
        assert len(data.train_images) == 16 and len(data.heldout_images) == 4
    held = [sorted(image.tobytes() for image in data.heldout_images) for data in (folder, parquet)]
    assert held[0] == held[1]
    row = next(i for i, image in enumerate(images) if image.tobytes() == folder.heldout_images[0].tobytes())
    assert folder.heldout_labels[0] == row % 2


def test_given_splits_are_kept(tmp_path: Path) -> None:
    train, held = pictures(8), pictures(4, seed=1)
    write_folder(tmp_path / "train", train)
    write_folder(tmp_path / "val", held)
    write_parquet(tmp_path / "train-0.parquet", train)
    write_parquet(tmp_path / "held" / "val-0.parquet", held)
    folder = {"kind": "folder", "path": str(tmp_path / "train"), "held_out_path": str(tmp_path / "val")}
    parquet = {"kind": "parquet", "path": str(tmp_path / "train-0.parquet"), "held_out_path": str(tmp_path / "held")}
    for spec in (folder, parquet):
        data = load_dataset(spec)
        assert {i.tobytes() for i in data.train_images} == {i.tobytes() for i in train}
        assert {i.tobytes() for i in data.heldout_images} == {i.tobytes() for i in held}
    assert load_dataset(parquet).class_names == ("0", "1")


def test_shards_are_read_in_name_order(tmp_path: Path) -> None:
    images = pictures(10)
    write_parquet(tmp_path / "whole.parquet", images)
    write_parquet(tmp_path / "shards" / "a-1.parquet", images[4:])
    write_parquet(tmp_path / "shards" / "a-0.parquet", images[:4])
    whole = load_dataset({"kind": "parquet", "path": str(tmp_path / "whole.parquet")})
    for pattern in ("shards", "shards/*.parquet", "shards/a-?.parquet"):
        shards = load_dataset({"kind": "parquet", "path": str(tmp_path / pattern)})
        np.testing.assert_array_equal(shards.train_images, whole.train_images)
        np.testing.assert_array_equal(shards.heldout_labels, whole.heldout_labels)


def test_size_and_grey_are_applied(tmp_path: Path) -> None:
    write_folder(tmp_path / "pets", pictures(10, shape=(9, 14, 3)))
    spec = {"kind": "folder", "path": str(tmp_path / "pets"), "size": 8, "grey": True}
    assert load_dataset(spec).image_shape == (1, 8, 8)


def test_the_crop_keeps_the_middle_and_the_mean() -> None:
    ramp = np.tile(np.arange(64, dtype=np.uint8)[None, :, None] * 4, (32, 1, 3))
    cut = np.asarray(centre_crop(Image.fromarray(ramp), 8)).astype(float)
    assert cut.shape == (8, 8, 3)
    # 32 rows to 8 is a factor of 4; the middle 8 of 16 columns are those of the ramp's middle half.
    expected = ramp[0, 16:48, 0].reshape(8, 4).mean(1)
    assert np.abs(cut[..., 0] - expected).max() <= 1


@pytest.mark.parametrize(
    ("spec", "kind", "message"),
    [
        ({"kind": "folder"}, UserError, "needs `path`"),
        ({"kind": "folder", "path": "x", "szie": 3}, UserError, "did you mean 'size'"),
        ({"kind": "folder", "path": "x", "grey": 1}, UserError, "true or false"),
        ({"kind": "folder", "path": "x", "size": "8"}, UserError, "number of pixels"),
        ({"kind": "digits", "path": "x"}, UserError, "takes no setting 'path'"),
    ],
)
def test_mistakes_in_the_entry_are_named(spec: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        check_data(spec)


def test_what_is_not_there_or_not_pictures_is_told(tmp_path: Path) -> None:
    with pytest.raises(MissingPrerequisite, match="no such folder"):
        load_dataset({"kind": "folder", "path": str(tmp_path / "none")})
    with pytest.raises(MissingPrerequisite, match="no parquet"):
        load_dataset({"kind": "parquet", "path": str(tmp_path / "none.parquet")})
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="one folder per class"):
        load_dataset({"kind": "folder", "path": str(tmp_path / "empty")})
    write_folder(tmp_path / "pets", pictures(4))
    (tmp_path / "pets" / "cat" / "900.png").write_bytes(b"not a png")
    with pytest.raises(IntegrityError, match=r"900\.png: damaged, or not an image"):
        load_dataset({"kind": "folder", "path": str(tmp_path / "pets")})
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(IntegrityError, match="not readable parquet"):
        load_dataset({"kind": "parquet", "path": str(tmp_path / "bad.parquet")})
    write_parquet(tmp_path / "odd.parquet", pictures(10), column="imgage")
    assert len(load_dataset({"kind": "parquet", "path": str(tmp_path / "odd.parquet")}).train_images)
    with pytest.raises(UserError, match="did you mean 'imgage'"):
        load_dataset({"kind": "parquet", "path": str(tmp_path / "odd.parquet"), "image_column": "image"})


def test_pictures_of_different_size_need_a_size(tmp_path: Path) -> None:
    write_folder(tmp_path / "pets", pictures(4))
    (tmp_path / "pets" / "dog" / "900.png").write_bytes(png(pictures(1, shape=(5, 6, 3))[0]))
    with pytest.raises(UserError, match="set `size`"):
        load_dataset({"kind": "folder", "path": str(tmp_path / "pets")})
