import numpy as np

from drlbench.data.sources import load_dataset
from drlbench.teachers.digits import draw_digits


def test_a_teachers_digits_are_a_balanced_dataset_and_always_the_same(tmp_path):
    for name in ("a", "b"):
        draw_digits(tmp_path / f"{name}.npz", 40, 20, updates=3, seed=1)
    data, again = (load_dataset({"kind": "npz", "path": str(tmp_path / f"{n}.npz")}) for n in ("a", "b"))
    assert data.train_images.shape == (40, 8, 8, 1) and data.heldout_images.shape == (20, 8, 8, 1)
    assert np.bincount(data.train_labels).tolist() == [4] * 10
    assert np.array_equal(data.train_images, again.train_images)
    assert not np.array_equal(data.train_images[:20], data.heldout_images)
