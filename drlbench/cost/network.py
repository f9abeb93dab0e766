"""One pass through a network on the meta device: forward, product for the input, gradient of the weights.

Repeated blocks are run once. Blocks of one stack that are of one type, have parameters of the same shapes and see
inputs of the same shapes do the same work, so all but the first two are left out and counted as often as the second:
exact, and as quick for 28 blocks as for two.

Shapes: B batch, C channels, H and W height and width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from drlbench.cost.counting import Count, counted
from drlbench.finetune.lora import add_low_rank
from drlbench.finetune.memory import recompute_activations

META = torch.device("meta")


class Passes:
    """Counts of one sample through a module on the meta device; each sort of pass is run when it is asked for.

    Args:
        call: a sample (1, *given) through `net`.
        rank: of the low-rank updates that are trained instead of the weights (LoRA).
        recompute: activations are, while training.

    Attributes:
        shape: of what comes out for one sample.
        values: numbers that the weights are.
    """

    def __init__(
        self,
        net: nn.Module,
        call: Callable[[Tensor], Tensor],
        given: tuple[int, ...],
        rank: int | None = None,
        recompute: bool = False,
    ) -> None:
        self._net, self._call, self._given, self._rank, self._recompute = net, call, given, rank, recompute
        self._trainable = [p for p in net.parameters() if p.requires_grad]
        self.values = sum(p.numel() for p in net.parameters())
        self.shape: tuple[int, ...] = ()
        self._groups = _alike(net, self._forward)

    def _forward(self) -> None:
        with torch.no_grad():
            self.shape = tuple(self._call(torch.empty(1, *self._given, device=META)).shape[1:])

    def _product(self) -> None:
        x = torch.empty(1, *self._given, device=META, requires_grad=True)
        y = self._call(x)
        torch.autograd.grad(y, x, torch.empty_like(y))

    def _trained(self) -> None:
        with recompute_activations(self._net, self._recompute):
            y = self._call(torch.empty(1, *self._given, device=META))
        torch.autograd.grad(y, self._trainable, torch.empty_like(y), allow_unused=True)

    @cached_property
    def forward(self) -> Count:
        """Without gradient."""
        return _repeated(self._groups, self._forward)

    @cached_property
    def product(self) -> Count:
        """With the gradient of the input, weights frozen."""
        for p in self._trainable:
            p.requires_grad_(False)
        found = _repeated(self._groups, self._product)
        for p in self._trainable:
            p.requires_grad_(True)
        return found

    @cached_property
    def trained(self) -> Count:
        """With the gradient of the weights that take one."""
        if self._rank is not None:
            add_low_rank(self._net, self._rank, 1.0, 0)
            self._trainable = [p for p in self._net.parameters() if p.requires_grad]
            self._rank = None
        return _repeated(self._groups, self._trained)


def _repeated(groups: list[list[nn.Module]], run: Callable[[], None]) -> Count:
    """What `run` does with the whole network; `groups` are the blocks that do what the one before the first does."""
    spared = [b for blocks in groups for b in blocks]
    with _left_out(spared):
        few = total = counted(run)
    for blocks in groups:
        with _left_out([b for b in spared if b is not blocks[0]]):
            more = counted(run)
        total = total.plus(more.plus(few, -1), len(blocks))
    return total


def _alike(net: nn.Module, run: Callable[[], None]) -> list[list[nn.Module]]:
    """Blocks that do the same work, first to last, without the first of each sort; those are stepped over already."""
    blocks = [b for m in net.modules() if isinstance(m, nn.ModuleList | nn.Sequential) for b in m if list(m)[2:]]
    seen: dict[Any, list[nn.Module]] = {}

    def wrapped(block: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
        own = tuple((name, tuple(p.shape), p.requires_grad) for name, p in block.named_parameters())

        def call(*args: Any, **kwargs: Any) -> Any:
            given = tuple(tuple(a.shape) if isinstance(a, Tensor) else None for a in (*args, *kwargs.values()))
            sort = type(block), own, given
            if sort in seen:
                seen[sort].append(block)
                return args[0]
            result = forward(*args, **kwargs)
            # Only a block that can be stepped over: what comes out looks like what went in.
            if isinstance(result, Tensor) and args and isinstance(args[0], Tensor) and result.shape == args[0].shape:
                seen[sort] = []
            return result

        return call

    unique = list(dict.fromkeys(blocks))
    for block in unique:
        block.forward = wrapped(block, block.forward)
    try:
        run()
    finally:
        for block in unique:
            del block.forward
    return [others for others in seen.values() if len(others) > 1]


@contextmanager
def _left_out(blocks: list[nn.Module]) -> Iterator[None]:
    """Inside, these blocks hand on their first argument."""
    for block in blocks:
        block.forward = lambda x, *_, **__: x
    try:
        yield
    finally:
        for block in blocks:
            block.__dict__.pop("forward", None)  # recomputation puts blocks back by itself
