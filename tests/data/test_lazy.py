"""Data too large for memory: decoded when asked for, the same images in every layout, never read for a key."""

from __future__ import annotations

import io
import json
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from drlbench.data import lazy, sources
from drlbench.data.lazy import LazyImages
from drlbench.data.sources import check_data, fingerprint, load_dataset
from drlbench.errors import IntegrityError, MissingPrerequisite, UserError

CLASSES = ["cat", "dog", "owl"]


def png(seed: int, height: int = 20, width: int = 30) -> bytes:
    array = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(array).save(out, format="png")
    return out.getvalue()


FILES = {f"{name}/{i}.png": png(10 * c + i, 20 + i) for c, name in enumerate(CLASSES) for i in range(10)}


def write_folder(root: Path, files: dict[str, bytes] = FILES) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def write_tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            add(archive, name, content)
    return path


def nested_tar(path: Path) -> Path:
    """A tar of one tar per class, as ImageNet's own."""
    with tarfile.open(path, "w") as outer:
        for name in CLASSES:
            buffer = io.BytesIO()
            with tarfile.open(fileobj=buffer, mode="w") as inner:
                for file, content in FILES.items():
                    if file.startswith(f"{name}/"):
                        add(inner, file.partition("/")[2], content)
            add(outer, f"{name}.tar", buffer.getvalue())
    return path


def webdataset(folder: Path) -> str:
    """Two shards; one with .cls, one with .json."""
    shards: list[dict[str, bytes]] = [{}, {}]
    for i, (name, content) in enumerate(FILES.items()):
        label = CLASSES.index(name.partition("/")[0])
        shard, key = shards[i % 2], f"{i:05d}"
        shard[f"{key}.png"] = content
        shard[f"{key}.{'json' if i % 2 else 'cls'}"] = json.dumps({"label": label} if i % 2 else label).encode()
    for k, files in enumerate(shards):
        write_tar(folder / f"shard-{k}.tar", files)
    return str(folder / "shard-*.tar")


def layouts(tmp_path: Path) -> dict[str, dict[str, Any]]:
    return {
        "folder": {"kind": "folder", "path": str(write_folder(tmp_path / "folder"))},
        "tar": {"kind": "tar", "path": str(write_tar(tmp_path / "flat.tar", FILES))},
        "tar of tars": {"kind": "tar", "path": str(nested_tar(tmp_path / "nested.tar"))},
        "webdataset": {"kind": "tar", "path": webdataset(tmp_path), "class_names": CLASSES},
    }


def content(images: Any, labels: Any) -> Counter[tuple[bytes, int]]:
    return Counter((images[i : i + 1].tobytes(), int(labels[i])) for i in range(len(images)))


@pytest.mark.parametrize("eager", [True, False])
def test_every_layout_holds_the_same_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, eager: bool) -> None:
    monkeypatch.setattr(sources, "EAGER_BYTES", 10**9 if eager else 0)
    found = []
    for spec in layouts(tmp_path).values():
        sources._load.cache_clear()
        data = load_dataset({**spec, "size": 8})
        assert isinstance(data.train_images, LazyImages) is not eager
        assert (data.image_shape, data.class_names) == ((3, 8, 8), tuple(CLASSES))
        assert Counter(data.heldout_labels.tolist()) == {0: 2, 1: 2, 2: 2}
        found.append(content(data.train_images, data.train_labels) + content(data.heldout_images, data.heldout_labels))
    sources._load.cache_clear()
    assert sum(found[0].values()) == len(FILES)
    assert all(f == found[0] for f in found)


def test_lazy_images_are_the_array(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = {"kind": "folder", "path": str(write_folder(tmp_path)), "size": 8}
    array = load_dataset(spec).train_images
    monkeypatch.setattr(sources, "EAGER_BYTES", 0)
    sources._load.cache_clear()
    images: Any = load_dataset(spec).train_images
    sources._load.cache_clear()
    monkeypatch.setattr(lazy, "BATCH", 5)
    whole = np.asarray(images)
    assert (whole.shape, whole.dtype) == (images.shape, np.uint8)
    assert {i.tobytes() for i in whole} | {i.tobytes() for i in array} <= {
        np.asarray(sources_image(spec, name)).tobytes() for name in FILES
    }
    rows = np.array([7, 0, 7, 21])
    np.testing.assert_array_equal(images[rows], whole[rows])
    np.testing.assert_array_equal(images[3:19], whole[3:19])
    np.testing.assert_array_equal(images[-2:], whole[-2:])
    np.testing.assert_array_equal(images[np.arange(24) % 5 == 0], whole[::5])
    np.testing.assert_array_equal(np.concatenate(list(images.batches(7))), whole)
    assert images[np.array([], dtype=int)].shape == (0, 8, 8, 3)


def sources_image(spec: dict[str, Any], name: str) -> Image.Image:
    from drlbench.data.decode import centre_crop

    return centre_crop(Image.open(io.BytesIO(FILES[name])), spec["size"])


def test_picked_images_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "EAGER_BYTES", 0)
    sources._load.cache_clear()
    images: Any = load_dataset({"kind": "folder", "path": str(write_folder(tmp_path)), "size": 8}).train_images
    sources._load.cache_clear()
    read: list[int] = []
    inner = images.source.read
    monkeypatch.setattr(images.source, "read", lambda rows: read.extend(rows) or inner(rows))
    for _ in range(3):
        images[np.array([4, 2, 4])]
    assert read == [2, 4]
    monkeypatch.setattr(lazy, "KEPT_BYTES", 2 * 8 * 8 * 3)
    images[np.array([9])]
    images[np.array([4])]
    assert read == [2, 4, 9]  # the least recently used, 2, was let go
    images[np.array([2])]
    assert read == [2, 4, 9, 2]


def test_what_does_not_fit_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "EAGER_BYTES", 0)
    sources._load.cache_clear()
    images = load_dataset({"kind": "folder", "path": str(write_folder(tmp_path)), "size": 8}).train_images
    sources._load.cache_clear()

    class Little:
        available = 1000

    monkeypatch.setattr(lazy.psutil, "virtual_memory", Little)
    with pytest.raises(MissingPrerequisite, match=r"all 24 images at once need 0\.0 GB of memory"):
        np.asarray(images)


def test_the_split_of_lazy_images_survives_a_move(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "EAGER_BYTES", 0)
    held = []
    for place in ("a", "b"):
        sources._load.cache_clear()
        data = load_dataset({"kind": "folder", "path": str(write_folder(tmp_path / place)), "size": 8})
        held.append(np.asarray(data.heldout_images))
    sources._load.cache_clear()
    np.testing.assert_array_equal(held[0], held[1])


def test_train_and_val_folders_are_the_splits(tmp_path: Path) -> None:
    write_folder(tmp_path / "train")
    write_folder(tmp_path / "val", {"dog/0.png": png(90), "cat/0.png": png(91)})
    data = load_dataset({"kind": "folder", "path": str(tmp_path), "size": 8})
    assert (len(data.train_images), len(data.heldout_images)) == (30, 2)
    assert data.heldout_labels.tolist() == [0, 1]
    write_folder(tmp_path / "val", {"eel/0.png": png(92)})
    sources._load.cache_clear()
    with pytest.raises(UserError, match="eel among cat, dog, eel; the data has cat, dog, owl"):
        load_dataset({"kind": "folder", "path": str(tmp_path), "size": 8})


def test_fingerprints(tmp_path: Path) -> None:
    spec = {"kind": "folder", "path": str(write_folder(tmp_path / "a")), "size": 8}
    first = fingerprint(spec)
    assert fingerprint({**spec, "path": str(write_folder(tmp_path / "b"))}) == first
    assert fingerprint({**spec, "size": 9}) != first
    assert fingerprint({**spec, "held_out": 0.3}) != first
    (tmp_path / "b" / "cat" / "0.png").rename(tmp_path / "b" / "dog" / "x.png")
    assert fingerprint({**spec, "path": str(tmp_path / "b")}) != first
    (tmp_path / "a" / "cat" / "0.png").write_bytes(FILES["cat/0.png"] + b"\0")
    assert fingerprint(spec) != first
    assert load_dataset(spec).sha256 == fingerprint(spec)
    sources._load.cache_clear()


def test_a_fingerprint_decodes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    specs = layouts(tmp_path)
    monkeypatch.setattr(LazyImages, "__init__", lambda *_: pytest.fail("images were opened"))
    for spec in specs.values():
        assert len(fingerprint(spec)) == 64


def test_imagenet_names(tmp_path: Path) -> None:
    files = {f"{k}.png": png(k) for k in range(4)} | {f"{k}.cls": str(k * 300).encode() for k in range(4)}
    write_tar(tmp_path / "x.tar", {**files, **{f"1{k}.png": png(50 + k) for k in range(4)},
                                   **{f"1{k}.cls": str(k * 300).encode() for k in range(4)}})  # fmt: skip
    spec = {"kind": "tar", "path": str(tmp_path / "x.tar"), "size": 8, "held_out": 0.5, "class_names": "imagenet"}
    data = load_dataset(spec)
    assert (data.num_classes, data.class_names[0]) == (1000, "tench")
    folder = {"kind": "folder", "path": str(write_folder(tmp_path / "f")), "size": 8, "class_names": "imagenet"}
    with pytest.raises(UserError, match="cat, dog, owl among cat, dog, owl; class_names has tench"):
        load_dataset(folder)


def damaged(kind: str, tmp_path: Path) -> tuple[str, type[Exception], str]:
    path = tmp_path / "x.tar"
    if kind == "truncated":
        path.write_bytes(write_tar(tmp_path / "y.tar", FILES).read_bytes()[:20_000])
        return str(path), IntegrityError, "no whole uncompressed tar file"
    if kind == "gzipped":
        with tarfile.open(path, "w:gz") as archive:
            add(archive, "cat/0.png", FILES["cat/0.png"])
        return str(path), IntegrityError, "gunzip"
    if kind == "no images":
        return str(write_tar(path, {"a/readme.txt": b"x"})), UserError, "no images inside"
    if kind == "no labels":
        return str(write_tar(path, {"a.png": b"x"})), UserError, "a.png has no label"
    if kind == "two kinds":
        return str(write_tar(path, {"a.png": b"x", "a.cls": b"1", "c/b.png": b"x"})), UserError, "use one kind"
    if kind == "bad label":
        return str(write_tar(path, {"a.png": b"x", "a.cls": b"one"})), UserError, "holds no label: 'one'"
    return str(tmp_path / "none-*.tar"), MissingPrerequisite, "no tar file here"


@pytest.mark.parametrize(
    "kind", ["truncated", "gzipped", "no images", "no labels", "two kinds", "bad label", "missing"]
)
def test_damaged_tars(tmp_path: Path, kind: str) -> None:
    path, error, message = damaged(kind, tmp_path)
    with pytest.raises(error, match=message):
        load_dataset({"kind": "tar", "path": path})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"held_out": 0.2, "held_out_path": "x"}, "not both"),
        ({"held_out": 2}, "'held_out' must be a fraction"),
        ({"class_names": "cifar"}, "'imagenet' or a list of names"),
        ({"image_column": "image"}, "takes no setting 'image_column'"),
        ({"size": True}, "number of pixels"),
    ],
)
def test_mistakes_in_the_entry(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_data({"kind": "tar", "path": "x.tar", **settings})
