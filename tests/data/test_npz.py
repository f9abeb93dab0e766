"""Datasets in npz files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from drlbench.data.digits import digits
from drlbench.data.npz import load_npz, save_npz
from drlbench.errors import UserError


def test_a_saved_dataset_comes_back_whole(tmp_path: Path) -> None:
    data = digits()
    save_npz(data, tmp_path / "d.npz")
    assert load_npz(tmp_path / "d.npz").sha256 == data.sha256


@pytest.mark.parametrize("keys", [("images", "labels"), ("arr_0", "arr_1")])
def test_one_pool_is_split_by_content(tmp_path: Path, keys: tuple[str, str]) -> None:
    data = digits()
    images = np.concatenate([data.train_images, data.heldout_images])
    labels = np.concatenate([data.train_labels, data.heldout_labels])
    np.savez(tmp_path / "d.npz", **{keys[0]: images, keys[1]: labels.astype(np.uint8)})
    loaded = load_npz(tmp_path / "d.npz", 0.2)
    held = {image.tobytes() for image in data.heldout_images}
    assert {image.tobytes() for image in loaded.heldout_images} == held
    assert loaded.class_names == tuple("0123456789")


def test_a_missing_file_and_missing_keys_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        load_npz(tmp_path / "none.npz")
    np.savez(tmp_path / "d.npz", imagse=np.zeros((2, 2, 2, 1), np.uint8))
    with pytest.raises(UserError, match="did you mean 'images'"):
        load_npz(tmp_path / "d.npz")


def test_pickled_arrays_and_other_files_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", images=np.array([{"a": 1}], dtype=object))
    with pytest.raises(UserError, match="array of objects"):
        load_npz(tmp_path / "d.npz")
    (tmp_path / "e.npz").write_bytes(b"not a zip")
    with pytest.raises(UserError, match="plain arrays"):
        load_npz(tmp_path / "e.npz")


def test_labels_must_be_whole_numbers(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", images=np.zeros((4, 2, 2, 1), np.uint8), labels=np.zeros(4))
    with pytest.raises(UserError, match="whole numbers"):
        load_npz(tmp_path / "d.npz")
