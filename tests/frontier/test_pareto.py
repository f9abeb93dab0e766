import moocore
import numpy as np
import pytest

from drlbench.frontier.pareto import attainment, best_within, cost, hypervolume, non_dominated, reference_point


def random_fronts(count: int):
    """Clouds of 1-40 points, a third on a coarse grid so that ties and duplicates are common."""
    rng = np.random.default_rng(5)
    for i in range(count):
        points = rng.normal(size=(rng.integers(1, 41), 2))
        yield np.round(points, 1) if i % 3 == 0 else points


def test_hypervolume_equals_moocore_on_1000_random_fronts():
    for points in random_fronts(1000):
        for reference in (np.array([3.0, 3.0]), np.array([0.2, 0.5])):
            inside = points[(points < reference).all(axis=1)]
            wanted = moocore.hypervolume(inside, ref=reference) if len(inside) else 0.0
            assert hypervolume(points, reference) == pytest.approx(wanted, rel=1e-12, abs=1e-13)


def test_front_is_the_definition_on_1000_random_fronts():
    for points in random_fronts(1000):
        no_worse = (points[:, None] <= points[None]).all(-1)
        better = (points[:, None] < points[None]).any(-1)
        assert (non_dominated(points) == ~(no_worse & better).any(0)).all()


def test_attainment_equals_a_count_of_the_sets_that_attain():
    rng = np.random.default_rng(0)
    for _ in range(100):
        fronts = [rng.normal(size=(rng.integers(1, 8), 2)) for _ in range(5)]
        for q, needed in ((0.0, 1), (50.0, 3), (100.0, 5)):
            surface = attainment(fronts, [q])[q]
            grid = np.concatenate([np.concatenate(fronts), rng.normal(size=(50, 2)), surface])
            attained = sum((f[:, None] <= grid[None]).all(-1).any(0).astype(int) for f in fronts)
            below = (surface[:, None] <= grid[None]).all(-1).any(0) if len(surface) else np.zeros(len(grid), bool)
            assert (below == (attained >= needed)).all()


def test_hypervolume_is_vectorised_over_leading_axes():
    rng = np.random.default_rng(1)
    points, reference = rng.normal(size=(3, 4, 6, 2)), np.array([1.5, 1.0])
    whole = hypervolume(points, reference)
    assert whole.shape == (3, 4)
    for s in range(3):
        for r in range(4):
            assert whole[s, r] == pytest.approx(hypervolume(points[s, r], reference), rel=1e-12)


def test_nan_and_infinity_are_on_no_front_and_add_no_volume():
    points = np.array([[1.0, 1.0], [np.nan, 0.0], [0.0, np.nan], [-np.inf, 0.0], [2.0, 2.0]])
    assert non_dominated(points).tolist() == [True, False, False, False, False]
    assert hypervolume(points, np.array([3.0, 3.0])) == 4.0
    assert not non_dominated(np.full((2, 2), np.nan)).any()
    assert hypervolume(np.full((2, 2), np.nan), np.array([3.0, 3.0])) == 0.0


def test_ties_single_points_empty_sets_and_points_beyond_the_reference():
    twice = np.array([[1.0, 1.0], [1.0, 1.0], [1.0, 2.0]])
    assert non_dominated(twice).tolist() == [True, True, False]
    assert non_dominated(np.array([[4.0, 4.0]])).all()
    assert non_dominated(np.empty((0, 2))).shape == (0,)
    assert hypervolume(np.empty((0, 2)), np.ones(2)) == 0.0
    assert hypervolume(np.array([[1.0, 0.0], [5.0, -9.0]]), np.ones(2)) == 0.0


def test_reference_is_the_worst_value_and_a_tenth_of_the_range():
    ideal, reference = reference_point(np.array([[0.0, 10.0]]), np.array([[2.0, 5.0], [np.nan, 99.0]]))
    assert ideal.tolist() == [0.0, 5.0]
    assert reference.tolist() == pytest.approx([2.2, 10.5])
    _, lone = reference_point(np.array([[4.0, 0.0]]))
    assert lone.tolist() == pytest.approx([4.4, 0.1])
    assert np.isnan(reference_point(np.full((1, 2), np.nan))[1]).all()


def test_best_within_is_a_step():
    points = np.array([[1.0, 5.0], [2.0, 6.0], [3.0, 1.0], [np.nan, 0.0]])
    levels = np.array([0.5, 1.0, 2.5, 3.0])
    assert best_within(points, levels).tolist() == [np.inf, 5.0, 5.0, 1.0]


def test_cost_directions():
    values = np.array([1.0, 4.0])
    assert cost(values, "lower").tolist() == [1.0, 4.0]
    assert cost(values, "higher").tolist() == [-1.0, -4.0]
    assert cost(values, "closer", 2.0).tolist() == [1.0, 2.0]
    with pytest.raises(ValueError, match="better must be"):
        cost(values, "more")
