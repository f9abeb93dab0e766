"""Datasets in npz files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from drlbench.data.digits import digits
from drlbench.data.images import open_images
from drlbench.data.npz import load_npz, save_npz
from drlbench.data.sources import fingerprint, load_dataset
from drlbench.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # what load_dataset tells


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
    loaded = load_npz(tmp_path / "d.npz", {"held_out": 0.2})
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
    with pytest.raises(UserError, match="object array"):
        load_npz(tmp_path / "d.npz")
    (tmp_path / "e.npz").write_bytes(b"not a zip")
    with pytest.raises(UserError, match="plain arrays"):
        load_npz(tmp_path / "e.npz")


def test_labels_must_be_whole_numbers(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", images=np.zeros((4, 2, 2, 1), np.uint8), labels=np.zeros(4))
    with pytest.raises(UserError, match="one whole number or text per image"):
        load_npz(tmp_path / "d.npz")


def images(count: int, seed: int = 0, shape: tuple[int, ...] = (6, 6, 3)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


LABELS = np.arange(8) % 2


@pytest.mark.parametrize(
    ("train", "held_out"),
    [
        (("train_images", "train_labels"), ("heldout_images", "heldout_labels")),
        (("train_images", "train_labels"), ("val_images", "val_labels")),
        (("x_train", "y_train"), ("x_test", "y_test")),
        (("X_train", "Y_train"), ("X_val", "Y_val")),
    ],
)
@pytest.mark.parametrize("shape", [(6, 6, 3), (6, 6, 1), (6, 6)])
def test_splits_of_other_tools(
    tmp_path: Path, train: tuple[str, str], held_out: tuple[str, str], shape: tuple[int, ...]
) -> None:
    own, aside = images(8, shape=shape), images(4, 1, shape)
    labels = LABELS[:, None].astype(np.uint8)  # as MedMNIST keeps them
    np.savez(tmp_path / "d.npz", **{train[0]: own, train[1]: labels, held_out[0]: aside, held_out[1]: labels[:4]})
    data = load_npz(tmp_path / "d.npz")
    np.testing.assert_array_equal(data.train_images.reshape(own.shape), own)
    np.testing.assert_array_equal(data.heldout_images.reshape(aside.shape), aside)
    assert data.train_labels.tolist() == LABELS.tolist() and data.train_images.ndim == 4
    source = open_images(tmp_path / "d.npz")
    assert source.n == 8 and f"{held_out[0]} left aside" in source.account.notes[0]


@pytest.mark.parametrize(
    "keys", [("images", "y"), ("samples", "labels"), ("x", "y"), ("data", "targets"), ("arr_0", "arr_1")]
)
def test_both_doors_know_the_same_names(tmp_path: Path, keys: tuple[str, str]) -> None:
    np.savez(tmp_path / "d.npz", **{keys[0]: images(8), keys[1]: LABELS})
    labels = open_images(tmp_path / "d.npz").labels
    assert labels is not None and labels.tolist() == LABELS.tolist()
    assert load_npz(tmp_path / "d.npz", {"held_out": 0.25}).num_classes == 2


def test_labels_that_are_names(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", images=images(8), labels=np.array(["c10", "c2"] * 4))
    source = open_images(tmp_path / "d.npz")
    assert source.class_names == ("c2", "c10") and source.labels is not None and source.labels[:2].tolist() == [1, 0]
    spec = {"kind": "npz", "path": str(tmp_path / "d.npz"), "held_out": 0.25, "class_names": ["c1", "c2", "c10"]}
    data = load_dataset(spec)
    assert set(data.train_labels.tolist()) == {1, 2} and data.num_classes == 3
    assert fingerprint(spec) == data.sha256
    with pytest.raises(UserError, match="c2 among c2, c10; class_names has a, c10"):
        load_dataset({**spec, "class_names": ["a", "c10"]})


def test_held_out_images_in_a_file_of_their_own(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=images(8), labels=LABELS)
    np.savez(tmp_path / "b.npz", images=images(4, 1), labels=LABELS[:4])
    spec = {"kind": "npz", "path": str(tmp_path / "a.npz"), "held_out_path": str(tmp_path / "b.npz")}
    data = load_dataset(spec)
    assert (len(data.train_images), len(data.heldout_images)) == (8, 4)
