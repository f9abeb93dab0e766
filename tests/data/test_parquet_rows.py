"""Parquet in the wild: labels, columns and rows that are not what the first file promised."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from picture_files import encoded, pictures, png, write

from drlbench.data.images import open_images
from drlbench.data.sources import load_dataset
from drlbench.errors import IntegrityError, UserError

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # what load_dataset tells

ROWS = [{"bytes": encoded(image), "path": f"{i}.png"} for i, image in enumerate(pictures(6))]


def save(path: Path, labels: Any, kind: pa.DataType | None = None, column: str = "image", label: str = "label") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({column: ROWS[: len(labels)], label: pa.array(labels, kind)}), path)
    return path


def suite(path: Path, **settings: Any) -> Any:
    return load_dataset({"kind": "parquet", "path": str(path), "held_out": 0.4, **settings})


@pytest.mark.parametrize("labels", [[0, 1, None, 0, 1, 1], [-1] * 6])
def test_labels_that_are_not_there_are_said_to_be_missing(tmp_path: Path, labels: list[int | None]) -> None:
    path = save(tmp_path / "a.parquet", labels, pa.int64())
    source = open_images(path)
    assert source.labels is None and source.n == 6
    assert "of 6 rows have no label" in source.account.notes[0]
    with pytest.raises(UserError, match=r"its images have no labels \(\d of 6 rows have no label \(row [02]\)"):
        suite(path)


@pytest.mark.parametrize(
    ("labels", "kind", "message"),
    [
        ([0, 10**12, 0, 1], pa.int64(), "a label is 1000000000000; more than 100,000 classes"),
        ([0.0, float("nan"), 0.0, 1.0], pa.float64(), "row 1 has the label nan"),
        ([0.0, 1.5, 0.0, 1.0], pa.float64(), "row 1 has the label 1.5"),
        ([[0], [1], [0, 1], []], pa.list_(pa.int64()), r"row 0 has the label \[0\], which is no class"),
        ([0, -5, 0, 1], pa.int64(), "labels run from -5 to 1"),
    ],
)
def test_labels_that_are_no_classes_are_refused(tmp_path: Path, labels: Any, kind: Any, message: str) -> None:
    path = save(tmp_path / "a.parquet", labels, kind)
    for door in (open_images, suite):
        with pytest.raises(UserError, match=message):
            door(path)


@pytest.mark.parametrize("name", ["label", "labels", "cls", "class", "fine_label", "y", "target"])
def test_both_doors_know_the_same_label_columns(tmp_path: Path, name: str) -> None:
    path = save(tmp_path / "a.parquet", [0, 1] * 3, column="jpg", label=name)
    labels = open_images(path).labels
    assert labels is not None and labels.tolist() == [0, 1] * 3
    assert suite(path).num_classes == 2


def test_labels_of_other_types(tmp_path: Path) -> None:
    for labels, kind in (
        (["dog", "cat"] * 3, pa.string()),
        ([1.0, 0.0] * 3, pa.float32()),
        ([True, False] * 3, pa.bool_()),
    ):
        source = open_images(save(tmp_path / "a.parquet", labels, kind))
        assert source.labels is not None and source.labels.tolist() == [1, 0] * 3
    assert suite(save(tmp_path / "b.parquet", ["c10", "c2", "c1"] * 2)).class_names == ("c1", "c2", "c10")


def test_files_with_other_columns_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "a.parquet", [0, 1] * 3)
    save(tmp_path / "b.parquet", [0, 1] * 3, column="img")
    for door in (open_images, suite):
        with pytest.raises(
            UserError, match=r"b\.parquet: a\.parquet has a column 'image' of .* here it has img, label"
        ):
            door(tmp_path)
    save(tmp_path / "b.parquet", ["0", "1"] * 3)
    with pytest.raises(UserError, match="'label' of int64, here it is string"):
        suite(tmp_path)


def test_rows_of_paths(tmp_path: Path) -> None:
    kinds = {
        "struct": [{"bytes": None, "path": f"images/{i}.png"} for i in range(4)],
        "text": [f"{i}.png" for i in range(4)],
    }
    write(tmp_path, {f"images/{i}.png": png(i) for i in range(4)})
    for name, rows in kinds.items():
        place = tmp_path if name == "struct" else tmp_path / "images"
        pq.write_table(pa.table({"image": rows, "label": [0, 1] * 2}), place / "t.parquet")
        found = np.concatenate(list(open_images(place / "t.parquet").batches()))
        assert found.shape == (4, 6, 6, 3)
        (place / "t.parquet").unlink()
    for path in ("/etc/hostname", "../secret.png", "gone.png"):
        pq.write_table(pa.table({"image": [{"bytes": None, "path": path}], "label": [0]}), tmp_path / "u.parquet")
        (tmp_path.parent / "secret.png").write_bytes(png())
        with pytest.raises(UserError, match=rf"u\.parquet row 0: holds no image bytes, only the path '{path}'"):
            open_images(tmp_path / "u.parquet")


def test_the_column_of_images_among_several(tmp_path: Path) -> None:
    masks = [{"bytes": encoded(np.full((6, 6, 3), i, np.uint8)), "path": ""} for i in range(6)]
    pq.write_table(pa.table({"mask": masks, "image": ROWS, "label": [0, 1] * 3}), tmp_path / "a.parquet")
    source = open_images(tmp_path / "a.parquet")
    assert next(iter(source.batches())).max() > 5 and "column 'image' (others: mask)" in source.account.notes[0]
    assert suite(tmp_path / "a.parquet", image_column="mask").train_images.max() <= 5


def test_messages_name_file_and_row(tmp_path: Path) -> None:
    rows = [*ROWS[:3], {"bytes": b"no picture", "path": "x.png"}]
    pq.write_table(pa.table({"image": rows, "label": [0, 1] * 2}), tmp_path / "a.parquet", row_group_size=2)
    with pytest.raises(IntegrityError, match=r"a\.parquet row 3: damaged, or not an image"):
        list(open_images(tmp_path / "a.parquet").batches())
    pq.write_table(pa.table({"image": [*ROWS[:3], None], "label": [0, 1] * 2}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match="row 3: holds no image"):
        suite(tmp_path / "a.parquet")


def test_class_names_of_the_hub_against_the_suites(tmp_path: Path) -> None:
    import json

    record = {"info": {"features": {"label": {"names": ["dog", "cat"], "_type": "ClassLabel"}}}}
    table = pa.table({"image": ROWS, "label": [0, 1] * 3}).replace_schema_metadata({"huggingface": json.dumps(record)})
    pq.write_table(table, tmp_path / "a.parquet")
    assert suite(tmp_path / "a.parquet").class_names == ("dog", "cat")
    turned = suite(tmp_path / "a.parquet", class_names=["cat", "dog"])
    plain = suite(tmp_path / "a.parquet")
    assert (turned.train_labels == 1 - plain.train_labels).all()
    renamed = suite(tmp_path / "a.parquet", class_names=["n1", "n2"])  # labels are indices: same number, same order
    assert (renamed.train_labels == plain.train_labels).all()
    with pytest.raises(UserError, match=r"dog, cat among dog, cat; class_names has a, b, c"):
        suite(tmp_path / "a.parquet", class_names=["a", "b", "c"])
