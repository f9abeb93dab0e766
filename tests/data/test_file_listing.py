"""What a folder's listing follows, takes and skips, and that it says so."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from picture_files import encoded, of_classes, pictures, png, write, write_tar

from drlbench.data.account import Account
from drlbench.data.images import open_images
from drlbench.data.listing import AGAIN, BY_THE_SYSTEM, OTHER_ENDING, SPECIAL, pictures_below
from drlbench.data.sources import load_dataset, survey
from drlbench.errors import IntegrityError, UserError

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # what load_dataset tells

JUNK = b"\0\5\x16\7\0\2\0\0Mac OS X        " + bytes(100)


def test_junk_is_skipped_and_said(tmp_path: Path) -> None:
    files = of_classes(["a", "b"], 3)
    junk = {"a/._0.png": JUNK, "b/._1.png": JUNK, ".DS_Store": b"x", "a/Thumbs.db": b"x", "__MACOSX/a/._0.png": JUNK,
            "b/.hidden.png": png(), "notes.txt": b"x"}  # fmt: skip
    write(tmp_path, {**files, **junk})
    source = open_images(tmp_path)
    assert sum(map(len, source.batches())) == source.n == 6
    account = source.account
    assert (account.used, account.seen) == (6, 13)
    assert account.skipped == {BY_THE_SYSTEM: 5, "hidden": 1, OTHER_ENDING: 1}
    (line,) = account.lines()
    assert "13 seen, 6 used" in line and "notes.txt" in line
    spec = {"kind": "folder", "path": str(tmp_path), "held_out": 0.34}
    data = load_dataset(spec)
    assert len(data.train_images) + len(data.heldout_images) == 6
    assert survey(spec)[0].document()["skipped"] == dict(account.skipped)


def test_links_are_followed_once(tmp_path: Path) -> None:
    store = write(tmp_path / "store", {**of_classes(["b"], 3), "blob": png(50)})
    root = write(tmp_path / "set", of_classes(["a"], 2))
    (root / "b").symlink_to(store / "b")
    (root / "a" / "9.png").symlink_to(store / "blob")
    (root / "again").symlink_to(root / "a")
    (root / "b2").symlink_to(store / "b")
    (root / "a" / "up").symlink_to(root)
    account = Account("x")
    names, sizes = pictures_below(root, account)
    assert names == ["a/0.png", "a/1.png", "a/9.png", "b/0.png", "b/1.png", "b/2.png"]
    assert sizes[2] == len(png(50)) and account.skipped == {AGAIN: 3}
    source = open_images(root)
    assert source.class_names == ("a", "b") and source.n == 6


def test_links_that_lead_nowhere(tmp_path: Path) -> None:
    root = write(tmp_path, of_classes(["a"], 2))
    (root / "notes").symlink_to("gone")
    assert open_images(root).n == 2
    (root / "a" / "3.png").symlink_to("../annex/3.png")
    with pytest.raises(IntegrityError, match=r"a/3\.png: is a link to \.\./annex/3\.png that leads nowhere"):
        open_images(root)
    (root / "a" / "3.png").unlink()
    (root / "a" / "3.png").symlink_to("4.png")
    (root / "a" / "4.png").symlink_to("3.png")
    with pytest.raises(IntegrityError, match="leads nowhere"):
        open_images(root)


def test_what_would_block_is_skipped(tmp_path: Path) -> None:
    root = write(tmp_path, of_classes(["a"], 2))
    os.mkfifo(root / "a" / "x.png")
    source = open_images(root)
    assert source.n == 2 and source.account.skipped == {SPECIAL: 1}


def test_an_existing_path_is_no_pattern(tmp_path: Path) -> None:
    place = tmp_path / "run [1] *"
    write(place / "f", of_classes(["a", "b"]))
    rows = [{"bytes": encoded(image), "path": ""} for image in pictures(6)]
    pq.write_table(pa.table({"image": rows, "label": [0, 1] * 3}), place / "x[0].parquet")
    write_tar(place / "x[0].tar", of_classes(["a", "b"]))
    for kind, name, count in (("folder", "f", 8), ("parquet", "x[0].parquet", 6), ("tar", "x[0].tar", 8)):
        data = load_dataset({"kind": kind, "path": str(place / name), "held_out": 0.34})
        assert len(data.train_images) + len(data.heldout_images) == count
        assert open_images(place / name).n == count


def test_names_that_are_no_text(tmp_path: Path) -> None:
    root = write(tmp_path, of_classes(["a", "b"]))
    os.rename(os.fsencode(root / "a" / "0.png"), os.fsencode(root / "a") + b"/\xff\xfe.png")
    spec = {"kind": "folder", "path": str(root), "held_out": 0.25}
    data = load_dataset(spec)
    assert len(data.train_images) == 6 and len(data.sha256) == 64
    assert np.concatenate(list(open_images(root).batches())).shape == (8, 6, 6, 3)


def test_what_an_archive_unpacks_to_is_no_class(tmp_path: Path) -> None:
    write(tmp_path / "a", of_classes(["x", "y"], below="pets-1.0/images/"))
    assert open_images(tmp_path / "a").class_names == ("x", "y")
    write(tmp_path / "b", of_classes(["x"]))
    assert open_images(tmp_path / "b").class_names == ("x",)
    write(tmp_path / "c", {f"data/{i}.png": png(i) for i in range(3)})
    assert open_images(tmp_path / "c").labels is None


def test_what_is_there_instead_of_images_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "samples_50000.npz", arr_0=pictures(2))
    with pytest.raises(UserError, match=r"no images in it .* \(samples_50000\.npz\)"):
        open_images(tmp_path)
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    write(tmp_path / "lfs", {"a.png": pointer})
    with pytest.raises(IntegrityError, match="git lfs pull"):
        open_images(tmp_path / "lfs")


def test_pictures_beside_their_metadata(tmp_path: Path) -> None:
    root = write(tmp_path, {**{f"{i}.png": png(i) for i in range(4)}, "metadata.csv": b"file_name,text\n0.png,x\n"})
    pq.write_table(
        pa.table({"file_name": [f"{i}.png" for i in range(4)], "text": list("abcd")}), root / "metadata.parquet"
    )
    pq.write_table(pa.table({"file_name": ["0.png"], "caption": ["x"]}), root / "captions.parquet")
    assert open_images(root).n == 4
