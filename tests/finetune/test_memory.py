"""Chunks that shrink when memory runs out."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from drlbench.errors import MissingPrerequisite
from drlbench.finetune.buffer import TrajectoryBuffer
from drlbench.finetune.memory import Chunks, recompute_activations


def test_a_failed_chunk_is_retried_in_halves_and_the_size_stays_small() -> None:
    done: list[int] = []

    def work(piece: slice) -> None:
        if piece.stop - piece.start > 3:
            raise torch.OutOfMemoryError("simulated")
        done.extend(range(piece.start, piece.stop))

    chunks = Chunks(None)
    chunks.run(10, work)
    assert done == list(range(10)) and chunks.size == 3
    chunks.run(4, work)
    assert done[10:] == list(range(4))


def test_one_row_that_does_not_fit_is_a_clear_error() -> None:
    def work(piece: slice) -> None:
        raise torch.OutOfMemoryError("simulated")

    with pytest.raises(MissingPrerequisite, match="single row at a time"):
        Chunks(None).run(5, work)
    with pytest.raises(ValueError, match="something else"):
        Chunks(None).run(5, lambda piece: (_ for _ in ()).throw(ValueError("something else")))


def test_recomputation_runs_each_block_twice_and_leaves_no_trace() -> None:
    calls: list[int] = []

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            calls.append(1)
            return torch.tanh(self.linear(x))

    blocks = nn.ModuleList([Block(), Block()])
    net = nn.ModuleDict({"blocks": blocks})
    x = torch.randn(4, 3)

    def forward() -> torch.Tensor:
        h = x
        for block in blocks:
            h = block(h)
        return h.sum()

    plain = torch.autograd.grad(forward(), list(net.parameters()))
    assert len(calls) == 2
    calls.clear()
    with recompute_activations(net, True):
        lean = torch.autograd.grad(forward(), list(net.parameters()))
    assert len(calls) == 4
    assert all(torch.equal(a, b) for a, b in zip(plain, lean, strict=True))
    assert all("forward" not in vars(block) for block in blocks)


def test_a_buffer_larger_than_the_host_is_refused_before_it_is_made() -> None:
    buffer = TrajectoryBuffer(100, 3072)
    with pytest.raises(MissingPrerequisite, match=r"100 steps of 3072 trajectories.*GB are free.*buffer_dtype bf16"):
        buffer.allocate((768, 1024, 1024), torch.bfloat16, torch.device("cpu"), pinned=False)
    assert buffer.x.numel() == 0
