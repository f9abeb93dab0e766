"""Minibatches cover every item once per pass and are the same sets on any number of ranks."""

from __future__ import annotations

import pytest
import torch

from drlbench.errors import UserError
from drlbench.finetune import minibatches
from drlbench.finetune.minibatches import Minibatches
from drlbench.seeds import derive_seed


def generator(turn: int, stratum: int) -> torch.Generator:
    return torch.Generator().manual_seed(derive_seed(turn, stratum))


def items(order: Minibatches, update: int) -> list[int]:
    return [order.own[place] for place in order.pick(update, generator)[0].tolist()]


def several(order: Minibatches, updates: range) -> list[int]:
    return [item for update in updates for item in items(order, update)]


def test_each_pass_uses_every_item_once() -> None:
    order = Minibatches(48, 16, 2, "buffer")
    assert order.updates == 6
    assert sorted(several(order, range(3))) == sorted(several(order, range(3, 6))) == list(range(48))
    assert several(order, range(3)) != several(order, range(3, 6))


def test_the_papers_uneven_buffer() -> None:
    """3072 trajectories, batch 576, 5 passes: 26.7 minibatches, so 27."""
    order = Minibatches(3072, 576, 5, "buffer")
    assert order.updates == 27
    visits = torch.zeros(3072)
    for update in range(27):
        visits.index_add_(0, torch.tensor(items(order, update)), torch.ones(576))
    assert visits.min() == 5 and visits.max() == 6 and visits.sum() == 27 * 576


@pytest.mark.parametrize("ranks", [2, 4])
def test_ranks_share_the_same_minibatches(monkeypatch: pytest.MonkeyPatch, ranks: int) -> None:
    whole = Minibatches(48, 16, 2, "buffer")
    parts = []
    for rank in range(ranks):
        monkeypatch.setattr(minibatches, "world", lambda rank=rank: (rank, ranks))
        parts.append(Minibatches(48, 16, 2, "buffer"))
    for update in range(6):
        assert sorted(item for part in parts for item in items(part, update)) == sorted(items(whole, update))
        positions = torch.cat([part.pick(update, generator)[1] for part in parts])
        assert sorted(positions.tolist()) == list(range(16))
    monkeypatch.setattr(minibatches, "world", lambda: (0, 3))
    with pytest.raises(UserError, match="3 ranks do not divide a batch of 16 evenly: use a divisor of 8"):
        Minibatches(48, 16, 2, "buffer")
