import numpy as np
import pytest

from drlbench.data.kinds import TOY_SHAPES
from drlbench.data.sources import check_data, fingerprint, load_dataset
from drlbench.data.toy import islands, spiral, to_pixels, toy
from drlbench.errors import UserError


@pytest.mark.parametrize("shape", TOY_SHAPES)
def test_a_toy_is_a_dataset_of_two_pixels_and_always_the_same(shape):
    data = load_dataset({"kind": "toy", "shape": shape, "points": 300})
    assert data.train_images.shape == data.heldout_images.shape == (300, 1, 2, 1)
    assert data.num_classes == 1 and data.image_shape == (1, 1, 2)
    assert toy(shape, 300).sha256 == data.sha256 == fingerprint({"kind": "toy", "shape": shape, "points": 300})
    assert toy(shape, 301).sha256 != data.sha256
    assert not np.array_equal(data.train_images, data.heldout_images)


def test_islands_lie_on_a_circle_and_the_spiral_on_its_curve():
    rng = np.random.default_rng(1)
    points = islands(4000, rng)
    centres = 0.7 * np.stack([np.cos(np.arange(8) * np.pi / 4), np.sin(np.arange(8) * np.pi / 4)], 1)
    nearest = np.linalg.norm(points[:, None] - centres, axis=2)
    assert (nearest.min(1) < 5 * 0.045).all() and len(np.unique(nearest.argmin(1))) == 8
    x, y = spiral(4000, rng).T
    angle = np.hypot(x, y) / 0.85 * 3.5 * np.pi  # what its radius stands for
    off = np.angle(np.exp(1j * (np.arctan2(y, x) - angle)))
    # A blur of 0.012 across arms that are 0.85 / 1.75 apart is an error of about 0.15 in the angle.
    assert 0.05 < np.sqrt((off**2).mean()) < 0.3


def test_points_fall_on_the_grid_and_those_outside_on_its_border():
    pixels = to_pixels(np.array([[-1.0, 1.0], [0.0, 3.0]]))
    assert pixels.dtype == np.uint8 and pixels[:, 0, :, 0].tolist() == [[0, 255], [128, 255]]


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"kind": "toy"}, "needs `shape`, one of islands, spiral"),
        ({"kind": "toy", "shape": "ring"}, "must be one of islands, spiral"),
        ({"kind": "toy", "shape": "spiral", "points": 3}, "at least 10"),
    ],
)
def test_a_toy_that_is_none_is_told(spec, told):
    with pytest.raises(UserError, match=told):
        check_data(spec)
