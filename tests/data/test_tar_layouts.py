"""Webdataset shards as they are found: where keys end, which file tells the label, what is skipped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from picture_files import encoded, of_classes, pictures, png, write_tar

from drlbench.data.images import open_images
from drlbench.data.sources import load_dataset
from drlbench.data.tar import open_tar
from drlbench.errors import IntegrityError, UserError

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # what load_dataset tells

WANT = [3, 1, 2]


def cls(value: object) -> bytes:
    return str(value).encode()


LAYOUTS = {
    "cls": lambda i, y: {f"{i:04}.jpg": png(i), f"{i:04}.cls": cls(y)},
    "json beside cls": lambda i, y: {f"{i:04}.jpg": png(i), f"{i:04}.cls": cls(y), f"{i:04}.json": b'{"height": 8}'},
    "another label in json": lambda i, y: {
        f"{i:04}.json": b'{"label": "cat"}',
        f"{i:04}.cls": cls(y),
        f"{i:04}.jpg": png(i),
    },
    "json": lambda i, y: {f"{i:04}.png": png(i), f"{i:04}.json": json.dumps({"label": y}).encode()},
    "json cls": lambda i, y: {f"{i:04}.png": png(i), f"{i:04}.json": json.dumps({"cls": str(y)}).encode()},
    "bare json": lambda i, y: {f"{i:04}.png": png(i), f"{i:04}.json": cls(y)},
    "dotted": lambda i, y: {f"s{i:04}.input.jpg": png(i), f"s{i:04}.cls": cls(y)},
    "dotted target": lambda i, y: {f"s{i:04}.jpg": png(i), f"s{i:04}.target.cls": cls(y)},
    "dots in the folder": lambda i, y: {f"./v22.0/{i:04}.jpg": png(i), f"./v22.0/{i:04}.cls": cls(y)},
    "upper case": lambda i, y: {f"{i:04}.JPG": png(i), f"{i:04}.CLS": cls(y)},
    "mask beside": lambda i, y: {f"{i:04}.png": png(i), f"{i:04}.mask.png": png(99), f"{i:04}.cls": cls(y)},
    "AppleDouble": lambda i, y: {f"{i:04}.png": png(i), f"._{i:04}.png": b"\0\5", f"{i:04}.cls": cls(y)},
    "whole float": lambda i, y: {f"{i:04}.png": png(i), f"{i:04}.json": json.dumps({"label": float(y)}).encode()},
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_labels_of_every_layout(tmp_path: Path, name: str) -> None:
    files: dict[str, bytes] = {}
    for i, y in enumerate(WANT):
        files |= LAYOUTS[name](i, y)
    split = open_tar(str(write_tar(tmp_path / "a.tar", files)))
    assert split.labels is not None and split.labels.tolist() == WANT
    assert split.source.read([0, 1, 2]) == [png(0), png(1), png(2)]


def test_samples_with_several_images_are_refused(tmp_path: Path) -> None:
    files = {"s0.input.png": png(0), "s0.target.png": png(1), "s0.cls": b"0"}
    with pytest.raises(UserError, match=r"a\.tar: the sample s0 has several images \(input\.png, target\.png\)"):
        open_tar(str(write_tar(tmp_path / "a.tar", files)))


def test_dots_in_names_of_class_folders_are_no_keys(tmp_path: Path) -> None:
    files = {f"cat/img.{i}.png": png(i) for i in range(3)} | {f"dog/img.{i}.png": png(9 + i) for i in range(3)}
    split = open_tar(str(write_tar(tmp_path / "a.tar", files)))
    assert len(split.source.names) == 6 and split.class_names == ("cat", "dog")


def test_shards_without_labels_can_be_scored_and_not_learned_from(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {f"{i}.png": png(i) for i in range(3)} | {f"{i}.txt": b"x" for i in range(3)})
    source = open_images(path)
    assert source.n == 3 and source.labels is None and "0.png has no label" in source.account.notes[0]
    assert sum(source.account.skipped.values()) == 3
    with pytest.raises(UserError, match=r"have no labels \(0\.png has no label"):
        load_dataset({"kind": "tar", "path": str(path)})


def test_messages_name_shard_and_member(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {**of_classes(["x"], 2), "y/3.png": b"broken"})
    with pytest.raises(IntegrityError, match=r"a\.tar: y/3\.png: damaged, or not an image") as caught:
        list(open_images(path).batches())
    assert "0x" not in str(caught.value)


def test_names_of_classes_in_json(tmp_path: Path) -> None:
    files = {}
    for i, name in enumerate(["owl", "cat", "owl", "cat"]):
        files |= {f"{i}.png": encoded(pictures(1, i)[0]), f"{i}.json": json.dumps({"label": name}).encode()}
    split = open_tar(str(write_tar(tmp_path / "a.tar", files)))
    assert split.labels is not None and split.labels.tolist() == [1, 0, 1, 0] and split.class_names == ("cat", "owl")
