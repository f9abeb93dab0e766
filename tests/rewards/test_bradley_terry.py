"""The trained preference reward finds the annotator's rule, is kept exactly, and can be maximised."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from drlbench.data.digits import digits
from drlbench.data.pairs import Pairs, load_pairs
from drlbench.data.synthetic_annotator import Annotator, synthetic_pairs
from drlbench.errors import MissingPrerequisite, UserError
from drlbench.rewards.bradley_terry import BradleyTerry
from drlbench.training import to_float


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    return synthetic_pairs(digits(), 1500, seed=3)


@pytest.fixture(scope="module")
def reward(pairs: Pairs) -> BradleyTerry:
    fitted, log = BradleyTerry.fit("ink", pairs, 10, {"network": "mlp", "width": 16, "steps": 300}, seed=1)
    assert log.summary["accuracy"] > 0.75
    assert log.summary["ece"] < 0.12
    assert log.summary["pairs"] == 300
    return fitted


def test_the_annotator_prefers_bold_and_legible(pairs: Pairs) -> None:
    data = digits()
    annotator, images, labels = Annotator(data), data.train_images, data.train_labels
    faded = (images * 0.6).astype(np.uint8)
    assert (annotator.utility(images, labels) > annotator.utility(faded, labels)).mean() > 0.95
    wrong = (labels + 1) % 10
    assert (annotator.utility(images, labels) > annotator.utility(images, wrong)).mean() > 0.95
    better = annotator.utility(pairs.second, pairs.labels) > annotator.utility(pairs.first, pairs.labels)
    assert 0.8 < (better == (pairs.winner == 1)).mean() < 0.97  # noisy, as people are


def test_the_same_seed_gives_the_same_pairs(pairs: Pairs) -> None:
    again = synthetic_pairs(digits(), 1500, seed=3)
    assert np.array_equal(again.first, pairs.first)
    assert np.array_equal(again.winner, pairs.winner)


def test_it_is_kept_exactly(reward: BradleyTerry, pairs: Pairs, tmp_path: Path) -> None:
    reward.save(tmp_path)
    loaded = BradleyTerry.load(tmp_path)
    x, y = to_float(pairs.first[:50]), torch.from_numpy(pairs.labels[:50])
    assert torch.equal(loaded(x, y), reward(x, y))
    assert loaded.signature == reward.signature


def test_its_gradient_leads_to_more_ink(reward: BradleyTerry) -> None:
    data = digits()
    x = to_float(data.train_images[:200]).requires_grad_()
    (slope,) = torch.autograd.grad(reward(x, torch.from_numpy(data.train_labels[:200])).sum(), x)
    assert slope.mean() > 0


def test_bad_pairs_are_refused(tmp_path: Path, pairs: Pairs) -> None:
    with pytest.raises(MissingPrerequisite, match="no such file"):
        load_pairs(tmp_path / "none.npz")
    np.savez(tmp_path / "a.npz", first=pairs.first, secnd=pairs.second, labels=pairs.labels, winner=pairs.winner)
    with pytest.raises(UserError, match="has no array 'second' \\(did you mean 'secnd'"):
        load_pairs(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", first=pairs.first, second=pairs.second, labels=pairs.labels, winner=pairs.winner * 2)
    with pytest.raises(UserError, match="winner"):
        load_pairs(tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz", first=pairs.first, second=pairs.second, labels=pairs.labels, winner=pairs.winner)
    assert len(load_pairs(tmp_path / "c.npz").first) == 1500
