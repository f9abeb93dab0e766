"""Ranks of a process group, as `torchrun` or `drlbench run --ranks` start them; alone, all of it is the identity."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, distributed

T = TypeVar("T")


def world() -> tuple[int, int]:
    """(rank, number of ranks); (0, 1) outside a process group."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def all_sum(values: Tensor) -> Tensor:
    """Sum over ranks, in place."""
    if world()[1] > 1:
        distributed.all_reduce(values)
    return values


def largest(value: int) -> int:
    """The largest of the ranks' values."""
    if world()[1] == 1:
        return value
    where = "cuda" if distributed.get_backend() == "nccl" else "cpu"
    found = torch.tensor(int(value), device=where)
    distributed.all_reduce(found, distributed.ReduceOp.MAX)
    return int(found)


def gathered(value: T) -> list[T]:
    """Every rank's value, in the order of ranks; waits for all of them."""
    ranks = world()[1]
    if ranks == 1:
        return [value]
    found: list[T | None] = [None] * ranks
    distributed.all_gather_object(found, value)
    return [v for v in found if v is not None]
