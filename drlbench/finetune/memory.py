"""Fit the work to the memory: chunks that shrink when memory runs out, and recomputed activations."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from drlbench.errors import MissingPrerequisite


class Chunks:
    """Runs a function over rows in chunks of at most `size`; halves the size for good when memory runs out.

    The function must leave no trace of a chunk it did not finish. Results do not depend on the size beyond
    the order of floating-point sums.

    Args:
        size: none: all rows at once.
        fixed: never halve: ranks that share one network must all run it equally often.
    """

    def __init__(self, size: int | None, fixed: bool = False) -> None:
        self.size, self.fixed = size, fixed

    def run(self, rows: int, work: Callable[[slice], None]) -> None:
        """Call `work` on consecutive slices that cover `range(rows)`.

        Raises:
            MissingPrerequisite: one row alone does not fit, or a chunk of fixed size.
        """
        start = 0
        while start < rows:
            size = min(self.size or rows, rows - start)
            if self._fits(work, slice(start, start + size)):
                start += size
            elif self.fixed:
                raise MissingPrerequisite(
                    f"out of memory with {size} rows at a time; with sharding fsdp chunks do not shrink by themselves: "
                    f"set micro_batch (rollout_batch for rollouts) to {max(1, size // 2)}"
                )
            elif size == 1:
                raise MissingPrerequisite(
                    "out of memory with a single row at a time; use a smaller network, precision bf16, "
                    "activation_checkpointing or a GPU with more memory"
                )
            else:
                self.size = (size + 1) // 2
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()

    @staticmethod
    def _fits(work: Callable[[slice], None], piece: slice) -> bool:
        # The handler ends before anything is retried, so the traceback no longer pins the failed chunk's tensors.
        try:
            work(piece)
        except torch.OutOfMemoryError:
            return False
        return True


def block_lists(network: nn.Module) -> Iterator[nn.Module]:
    """Every block of a network's repeated stacks."""
    for module in network.modules():
        if isinstance(module, nn.ModuleList) and len(module) > 1 and len({type(block) for block in module}) == 1:
            yield from module


@contextmanager
def recompute_activations(network: nn.Module, enabled: bool) -> Iterator[None]:
    """Inside, every block of the network's repeated stacks keeps only its input for the backward pass."""
    blocks = list(block_lists(network)) if enabled else []

    def recomputing(forward: Callable[..., Any]) -> Callable[..., Any]:
        return functools.partial(checkpoint, forward, use_reentrant=False)

    for block in blocks:
        block.forward = recomputing(block.forward)
    try:
        yield
    finally:
        for block in blocks:
            del block.forward
