"""Streamed moments: accuracy, merging, and the file they are kept in."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drlbench.errors import IntegrityError, UserError
from drlbench.features.moments import MomentAccumulator, Moments


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=16),
    st.sampled_from([0.0, 1e3, -1e6]),
    st.integers(0, 2**32 - 1),
)
def test_any_batches_equal_numpy(sizes, offset, seed):
    rng = np.random.default_rng(seed)
    running, every = MomentAccumulator(5), []
    for size in sizes:
        batch = offset + rng.standard_normal((size, 5))
        running.add(batch)
        every.append(batch)
    x = np.concatenate(every)
    if len(x) < 2:  # nothing to be estimated
        return
    found = running.finish()
    assert found.n == len(x)
    np.testing.assert_allclose(found.mean, x.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.covariance, np.cov(x, rowvar=False), atol=1e-10 * max(1.0, abs(offset) / 1e3))


def test_offset_of_4096_costs_no_digits():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((500, 8))
    plain, far = Moments.of(x), Moments.of(x + 4096)
    np.testing.assert_allclose(far.covariance, plain.covariance, rtol=0, atol=1e-11)
    assert (plain.covariance == plain.covariance.T).all()


def test_float32_batches_are_summed_in_float64():
    x = np.random.default_rng(1).standard_normal((2000, 3)).astype(np.float32)
    np.testing.assert_allclose(Moments.of(x).covariance, np.cov(x.astype(np.float64), rowvar=False), rtol=1e-12)


def test_file_round_trip_and_damage(tmp_path):
    moments = Moments.of(np.random.default_rng(2).standard_normal((30, 4)), {"encoder": "pixels:1", "space": "fid"})
    path = tmp_path / "m.safetensors"
    moments.save(path)
    back = Moments.load(path)
    assert back.n == 30 and back.provenance == {"encoder": "pixels:1", "space": "fid"}
    np.testing.assert_array_equal(back.covariance, moments.covariance)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(IntegrityError, match=r"m\.safetensors"):
        Moments.load(path)


def test_messages():
    running = MomentAccumulator(3)
    with pytest.raises(UserError, match="at least 2"):
        running.finish()
    with pytest.raises(UserError, match="3 dimensions"):
        running.add(np.zeros((2, 4)))
    with pytest.raises(UserError, match="shape"):
        Moments(np.zeros(3), np.zeros((2, 2)), 5)
