"""Splits by the Hub's conventions: held out is held out, and what is ambiguous is refused with two spellings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from picture_files import encoded, of_classes, png, write, write_tar

from drlbench.data.images import open_images
from drlbench.data.partition import choose, split_of
from drlbench.data.sources import fingerprint, load_dataset, survey
from drlbench.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # what load_dataset tells


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train-00000-of-00002.parquet", "train"), ("TEST.parquet", "test"), ("validation", "validation"),
        ("my_val_0.tar", "validation"), ("dev", "validation"), ("imagenet-train-000001.tar", "train"),
        ("training", "train"), ("eval-1.parquet", "test"), ("values.parquet", None), ("retrain.parquet", None),
        ("contest", None), ("train_test.parquet", None), ("0000.parquet", None),
    ],
)  # fmt: skip
def test_a_name_speaks_of_a_split(name: str, split: str | None) -> None:
    assert split_of(name) == split


def table(value: int, count: int) -> pa.Table:
    rows = [{"bytes": encoded(np.full((6, 6, 3), value + i, np.uint8)), "path": ""} for i in range(count)]
    return pa.table({"image": rows, "label": [i % 2 for i in range(count)]})


def parquet(root: Path, files: dict[str, tuple[int, int]]) -> Path:
    for name, (value, count) in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table(value, count), root / name)
    return root


LAYOUTS = [
    {"train-0.parquet": (0, 6), "test-0.parquet": (100, 4)},
    {"data/train-0.parquet": (0, 6), "data/validation-0.parquet": (100, 4)},
    {"train/0000.parquet": (0, 6), "test/0000.parquet": (100, 4)},
    {"default/train/0000.parquet": (0, 6), "default/valid/0000.parquet": (100, 4)},
    {"train.parquet": (0, 6), "test.parquet": (200, 2), "val.parquet": (100, 4)},
]


@pytest.mark.parametrize("files", LAYOUTS)
def test_parquet_splits(tmp_path: Path, files: dict[str, tuple[int, int]]) -> None:
    root = parquet(tmp_path / "repo", files)
    spec = {"kind": "parquet", "path": str(root)}
    data = load_dataset(spec)
    assert sorted(np.asarray(data.train_images)[:, 0, 0, 0].tolist()) == list(range(6))
    assert sorted(np.asarray(data.heldout_images)[:, 0, 0, 0].tolist()) == list(range(100, 104))
    assert any("train is taken" in note and "is held out" in note for note in survey(spec)[0].notes)
    source = open_images(root)
    assert source.n == 6 and "left aside" in source.account.notes[0]
    if sum("/" not in name for name in files) == len(files):
        pattern = load_dataset({"kind": "parquet", "path": f"{root}/*.parquet"})
        assert len(pattern.train_images) == 6


def test_tar_and_folder_splits(tmp_path: Path) -> None:
    write_tar(tmp_path / "t" / "x-train-0.tar", of_classes(["a", "b"]))
    write_tar(tmp_path / "t" / "x-val-0.tar", of_classes(["a", "b"], 1))
    for path in ("t", "t/x-*.tar"):
        data = load_dataset({"kind": "tar", "path": str(tmp_path / path)})
        assert (len(data.train_images), len(data.heldout_images)) == (8, 2)
    assert open_images(tmp_path / "t").n == 8
    layouts = {
        "plain": {**of_classes(["a", "b"], below="train/"), **of_classes(["a", "b"], 1, below="test/")},
        "below data": {**of_classes(["a", "b"], below="data/train/"), **of_classes(["a", "b"], 1, below="data/val/")},
        "suffixed": {**of_classes(["a", "b"], below="pets_train/"), **of_classes(["a", "b"], 1, below="pets_val/")},
        "inside classes": {
            **{f"{c}/train/{i}.png": png(i) for c in "ab" for i in range(4)},
            **{f"{c}/test/0.png": png(9) for c in "ab"},
        },
        "by file": {**{f"{c}/train_{i}.png": png(i) for c in "ab" for i in range(4)}, "a/test_0.png": png(7),
                    "b/test_1.png": png(8)},
    }  # fmt: skip
    for name, files in layouts.items():
        root = write(tmp_path / name, {**files, "readme.md": b"x"})
        data = load_dataset({"kind": "folder", "path": str(root)})
        assert (len(data.train_images), len(data.heldout_images)) == (8, 2), name
        assert data.class_names == ("a", "b"), name
        source = open_images(root)
        assert source.n == 8 and source.class_names == ("a", "b"), name
        assert any("left aside" in note for note in source.account.notes), name


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    root = write(tmp_path, of_classes(["bus", "test tube", "train"]))
    assert open_images(root).class_names == ("bus", "test tube", "train")
    assert load_dataset({"kind": "folder", "path": str(root), "held_out": 0.25}).num_classes == 3


def test_what_is_ambiguous_is_refused_with_two_spellings(tmp_path: Path) -> None:
    mixed = parquet(tmp_path / "mixed", {"train-0.parquet": (0, 4), "extra.parquet": (9, 4)})
    with pytest.raises(UserError, match=r"`\S+/mixed/train\*\.parquet` or `\S+/mixed/extra\.parquet`"):
        load_dataset({"kind": "parquet", "path": str(mixed)})
    assert open_images(f"{mixed}/train*.parquet").n == 4
    configs = parquet(tmp_path / "configs", {"en/train-0.parquet": (0, 4), "de/train-0.parquet": (9, 4)})
    with pytest.raises(UserError, match=r"2 folders .* `\S+/de` or `\S+/en`"):
        open_images(configs)
    two = parquet(tmp_path / "two", {"validation-0.parquet": (0, 4), "test-0.parquet": (9, 4)})
    with pytest.raises(UserError, match=r"no train split; name one: `\S+/test\*\.parquet` or `\S+/validation\*"):
        open_images(two)
    folders = write(tmp_path / "f", {**of_classes(["a"], below="train/"), **of_classes(["a"], below="extra/")})
    with pytest.raises(UserError, match=r"`\S+/f/train` or `\S+/f/extra`"):
        open_images(folders)
    both = parquet(tmp_path / "both", {"data/train-0.parquet": (0, 4)})
    write(both, {"assets/preview.png": png()})
    with pytest.raises(UserError, match=r"which are not pooled; name one: `\S+/data/\*\.parquet` or `\S+/assets`"):
        open_images(both)


def test_a_fraction_beside_a_split_of_its_own_is_refused(tmp_path: Path) -> None:
    root = parquet(tmp_path, LAYOUTS[0])
    with pytest.raises(UserError, match="has a split of its own to hold out"):
        load_dataset({"kind": "parquet", "path": str(root), "held_out": 0.3})
    spec = {"kind": "parquet", "path": str(root), "held_out_path": f"{root}/test-0.parquet"}
    data = load_dataset(spec)
    assert (len(data.train_images), len(data.heldout_images)) == (6, 4)
    assert fingerprint(spec) == data.sha256


def test_choices_say_what_is_unused() -> None:
    choice = choose(["train-0", "val-0", "test-0"], "x", "")
    assert (choice.train, choice.held_out, choice.unused) == ([0], [1], ("test",))
    assert choice.sentence(True).startswith("splits by name: train is taken, validation is held out, test left aside")
    assert "validation and test left aside" in choice.sentence(False)
    assert choose(["a", "b"], "x", "").sentence(True) == ""
