"""The split, the checks and the fingerprint of a data set."""

from __future__ import annotations

import numpy as np
import pytest

from drlbench.data.dataset import Dataset, split_by_content, split_dataset
from drlbench.data.digits import digits
from drlbench.errors import UserError


def pool(count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, 4, 4, 1), dtype=np.uint8), np.arange(count, dtype=np.int64) % 3


def test_the_digits_are_all_there_split_and_balanced() -> None:
    data = digits()
    assert len(data.train_images) + len(data.heldout_images) == 1797
    assert data.image_shape == (1, 8, 8) and data.num_classes == 10
    assert data.train_images.min() == 0 and data.train_images.max() == 255
    for label in range(10):
        held, total = (data.heldout_labels == label).sum(), (data.train_labels == label).sum()
        assert abs(held / (held + total) - 0.2) < 0.01
    train = {image.tobytes() for image in data.train_images}
    assert not any(image.tobytes() in train for image in data.heldout_images)


def test_the_digits_never_change() -> None:
    assert digits().sha256 == "e59a839003d405670de8dfea08da0c280dff2dae7248d0777bd36d3e649ddb43"


def test_the_split_follows_the_images_not_their_order() -> None:
    images, labels = pool()
    shuffle = np.random.default_rng(1).permutation(len(images))
    _, held = split_by_content(images, labels, 0.25)
    _, held_shuffled = split_by_content(images[shuffle], labels[shuffle], 0.25)
    assert {images[i].tobytes() for i in held} == {images[shuffle][i].tobytes() for i in held_shuffled}
    assert np.bincount(labels[held]).tolist() == [5, 5, 5]


def test_copies_of_an_image_stay_on_one_side() -> None:
    images, labels = pool(12)
    images, labels = np.concatenate([images, images[:3]]), np.concatenate([labels, labels[:3]])
    train, held = split_by_content(images, labels, 0.2)
    assert not {images[i].tobytes() for i in train} & {images[i].tobytes() for i in held}


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1])
def test_a_fraction_must_leave_both_sides(fraction: float) -> None:
    with pytest.raises(UserError, match="between 0 and 1"):
        split_by_content(*pool(), fraction)


def test_a_class_too_small_to_split_is_named() -> None:
    images, labels = pool(7)
    with pytest.raises(UserError, match="class 1 has 2 images"):
        split_by_content(images, labels, 0.2)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((4, 8, 8, 1)), np.zeros(4, np.int64), "float64"),
        (np.zeros((4, 8, 8), np.uint8), np.zeros(4, np.int64), r"\(4, 8, 8\)"),
        (np.zeros((4, 8, 8, 2), np.uint8), np.zeros(4, np.int64), "1 or 3 channels"),
        (np.zeros((4, 8, 8, 1), np.uint8), np.zeros(3, np.int64), r"int64 \(4,\) is needed"),
        (np.zeros((4, 8, 8, 1), np.uint8), np.full(4, 7, np.int64), "2 class names"),
    ],
)
def test_wrong_arrays_are_refused_with_what_would_be_right(
    images: np.ndarray, labels: np.ndarray, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        split_dataset("mine", images, labels, ["a", "b"], 0.5)


def test_splits_of_different_size_are_refused() -> None:
    images, labels = pool()
    with pytest.raises(UserError, match="one size"):
        Dataset("mine", images, labels, images[:, :2], labels, ("a", "b", "c"))


def test_the_fingerprint_sees_every_part() -> None:
    images, labels = pool()
    data = split_dataset("mine", images, labels, ["a", "b", "c"], 0.25)
    other = images.copy()
    other[0, 0, 0, 0] ^= 1
    assert data.sha256 == split_dataset("yours", images, labels, ["a", "b", "c"], 0.25).sha256
    assert data.sha256 != split_dataset("mine", other, labels, ["a", "b", "c"], 0.25).sha256
    assert data.sha256 != split_dataset("mine", images, labels, ["a", "b", "d"], 0.25).sha256
    assert data.sha256 != split_dataset("mine", images, labels, ["a", "b", "c"], 0.3).sha256
