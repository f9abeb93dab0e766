import numpy as np
import pytest

from drlbench.frontier.pareto import reference_point
from drlbench.frontier.uncertainty import (
    attainment_dominance,
    estimate,
    hypervolume_dominance,
    hypervolume_estimate,
    recentre,
    volume_share,
    worst_gap,
)

TRUTH_A = np.array([[1.0, -1.0], [1.5, -2.0], [2.5, -3.0], [5.0, -4.0]])
TRUTH_B = np.array([[2.0, -0.8], [2.3, -1.6], [3.6, -2.7], [6.0, -3.9]])


def measure(truth: np.ndarray, sd: float, replicates: int, rng: np.random.Generator):
    """One measured family (P, 2) and its replicates (R, P, 2), noisy with the same sd around truth and measurement."""
    seen = truth + sd * rng.normal(size=truth.shape)
    return seen, seen + sd * rng.normal(size=(replicates, *truth.shape)) + 0.7 * sd  # a biased bootstrap, as FD's is


def test_hypervolume_interval_covers_the_truth():
    """Checkpoints fixed: 95 % intervals over 600 simulated evaluations cover 90-98 %."""
    ideal, reference = reference_point(TRUTH_A, TRUTH_B)
    truth = float(volume_share(TRUTH_A, ideal, reference))
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(600):
        seen, replicates = measure(TRUTH_A, 0.12, 200, rng)
        replicates = np.moveaxis(recentre(seen, np.moveaxis(replicates, 0, -1)), -1, 0)
        got = hypervolume_estimate(seen[None], replicates[None], ideal, reference)
        hits += got.low <= truth <= got.high
        assert np.isnan(got.seed_low)
    assert 0.90 <= hits / 600 <= 0.98


@pytest.mark.parametrize(
    ("between", "own", "shared"), [(0.2, 0.1, 0.0), (0.2, 0.0, 0.15), (0.0, 0.1, 0.0), (0.1, 0.1, 0.1)]
)
@pytest.mark.parametrize("seeds", [2, 3, 6])
def test_recipe_interval_covers_the_recipe(between, own, shared, seeds):
    """RL seed and samples drawn anew: coverage 90-98 % whichever source dominates and with as few as two seeds."""
    rng = np.random.default_rng(seeds)
    hits = 0
    for _ in range(1000):
        values = rng.normal(0, between, seeds) + rng.normal(0, own, seeds) + shared * rng.normal()
        noise = rng.normal(0, 1, (seeds, 200)) * own + shared * rng.normal(size=200)
        got = estimate(values, values[:, None] + noise + 0.3)
        hits += got.seed_low <= 0 <= got.seed_high
    # With two seeds and much shared noise the interval is known to be conservative (Behrens-Fisher).
    assert 0.90 <= hits / 1000 <= (0.98 if seeds > 2 else 0.99)


def test_difference_interval_is_paired():
    """Noise common to both families cancels: the interval of the difference is far narrower than either's."""
    rng = np.random.default_rng(2)
    ideal, reference = reference_point(TRUTH_A, TRUTH_B)
    shift = 0.2 * rng.normal(size=(1, 300, 1, 2)) * np.array([1.0, 0.3])
    a, b = TRUTH_A[None], TRUTH_B[None]
    alone = hypervolume_estimate(a, a[:, None] + shift, ideal, reference)
    pair = hypervolume_dominance(a, b, a[:, None] + shift, b[:, None] + shift, ideal, reference)
    assert pair.difference.high - pair.difference.low < 0.5 * (alone.high - alone.low)
    assert pair.probability == 1.0 and pair.holds


def test_dominance_probability_is_calibrated_at_equal_fronts():
    """Two families with the same truth: the probability is spread over (0, 1), not stuck at an end."""
    rng = np.random.default_rng(3)
    ideal, reference = reference_point(TRUTH_A)
    found = []
    for _ in range(300):
        pair = [measure(TRUTH_A, 0.12, 100, rng) for _ in range(2)]
        (a, ra), (b, rb) = pair
        found.append(hypervolume_dominance(a[None], b[None], ra[None], rb[None], ideal, reference).probability)
    assert 0.4 < np.mean(found) < 0.6
    assert 0.02 < np.mean(np.array(found) > 0.95) < 0.09


def test_worst_gap_needs_shared_levels_and_finds_the_worst():
    assert worst_gap(TRUTH_A, TRUTH_B) == pytest.approx(0.3)  # at level 3.6: 3.0 against 2.7
    assert worst_gap(TRUTH_B, TRUTH_A) < 0
    assert worst_gap(TRUTH_A, TRUTH_A) == 0
    assert np.isnan(worst_gap(TRUTH_A, TRUTH_B + np.array([10.0, 0.0])))
    with_nan = np.concatenate([TRUTH_A, np.full((1, 2), np.nan)])
    assert worst_gap(with_nan, TRUTH_B) == worst_gap(TRUTH_A, TRUTH_B)


def test_attainment_dominance_reports_a_probability_and_no_claim_without_overlap():
    rng = np.random.default_rng(4)
    a, b = TRUTH_A[None], TRUTH_B[None]
    noise = 0.02 * rng.normal(size=(2, 1, 200, 4, 2))
    yes = attainment_dominance(a, b, a[:, None] + noise[0], b[:, None] + noise[1])
    assert yes.holds and yes.probability > 0.95 and yes.probability_low < yes.probability
    no = attainment_dominance(b, a, b[:, None] + noise[1], a[:, None] + noise[0])
    assert no.holds is False and no.probability < 0.05
    far = b + np.array([10.0, 0.0])
    none = attainment_dominance(a, far, a[:, None] + noise[0], far[:, None] + noise[1])
    assert none.holds is None and np.isnan(none.probability) and none.n_replicates == 0
    assert none.to_json()["probability"] is None


def test_two_seeds_say_less_than_their_replicates():
    rng = np.random.default_rng(6)
    got = estimate(np.array([1.0, 3.0]), np.array([[1.0], [3.0]]) + 0.01 * rng.normal(size=(2, 400)))
    assert got.high - got.low < 0.1
    assert got.seed_high - got.seed_low > 10


def test_missing_replicates_and_values_give_nan_ends():
    bare = estimate(np.array([1.0, 2.0]), np.empty((2, 0)))
    assert bare.value == 1.5 and np.isnan(bare.low) and np.isnan(bare.seed_high) and bare.n_seeds == 2
    assert np.isnan(estimate(np.empty(0), np.empty((0, 5))).value)
    assert np.isnan(estimate(np.array([np.nan]), np.ones((1, 5))).low)
