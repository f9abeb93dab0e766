"""One pass through a network on the meta device: forward, product for the input, gradient of the weights.

Repeated blocks are run once. Blocks of one stack that are of one type, have parameters of the same shapes and see
inputs of the same shapes do the same work, so all but the first two are left out and counted as often as the second:
exact, and as quick for 28 blocks as for two.

Shapes: B batch, C channels, H and W height and width.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from drlbench.cost.counting import Count, counted
from drlbench.finetune.lora import add_low_rank
from drlbench.finetune.memory import recompute_activations

META = torch.device("meta")


@dataclass(frozen=True)
class Passes:
    """Counts of one sample.

    Attributes:
        forward: without gradient.
        product: with the gradient of the input, weights frozen.
        trained: with the gradient of the weights; none for a network that is never trained.
        shape: of what comes out for one sample.
        values: numbers that the weights are.
    """

    forward: Count
    product: Count
    trained: Count
    shape: tuple[int, ...]
    values: int


def passes_of(
    net: nn.Module,
    call: Callable[[Tensor], Tensor],
    shape: tuple[int, ...],
    train: bool | int = False,
    recompute: bool = False,
) -> Passes:
    """Count passes of a module on the meta device.

    Args:
        call: a sample (1, *shape) through `net`.
        train: also with the gradient of the weights that take one; a number is the rank of the updates to train
            instead (LoRA).
        recompute: activations are, while training.
    """
    shapes: list[tuple[int, ...]] = []

    def forward() -> None:
        with torch.no_grad():
            shapes.append(tuple(call(torch.empty(1, *shape, device=META)).shape[1:]))

    def trained() -> None:
        trainable = [p for p in net.parameters() if p.requires_grad]
        with recompute_activations(net, recompute):
            y = call(torch.empty(1, *shape, device=META))
        torch.autograd.grad(y, trainable, torch.empty_like(y), allow_unused=True)

    def product() -> None:
        x = torch.empty(1, *shape, device=META, requires_grad=True)
        y = call(x)
        torch.autograd.grad(y, x, torch.empty_like(y))

    values, groups = sum(p.numel() for p in net.parameters()), _alike(net, forward)
    once, learned = _repeated(groups, forward), Count(0, 0, 0)
    if train:
        if train is not True:
            add_low_rank(net, train, 1.0, 0)
        learned = _repeated(groups, trained)
    net.requires_grad_(False)
    return Passes(once, _repeated(groups, product), learned, shapes[0], values)


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
    """Blocks that do the same work, first to last, without the first of each sort."""
    blocks = [b for m in net.modules() if isinstance(m, nn.ModuleList | nn.Sequential) for b in m if list(m)[2:]]
    seen: dict[Any, list[nn.Module]] = defaultdict(list)

    def note(block: nn.Module, args: Any, kwargs: Any, result: Any) -> None:
        given = tuple(tuple(a.shape) if isinstance(a, Tensor) else None for a in (*args, *kwargs.values()))
        # Only a block that can be stepped over: what comes out looks like what went in.
        if isinstance(result, Tensor) and args and isinstance(args[0], Tensor) and result.shape == args[0].shape:
            own = tuple((name, tuple(p.shape), p.requires_grad) for name, p in block.named_parameters())
            seen[type(block), own, given].append(block)

    hooks = [b.register_forward_hook(note, with_kwargs=True) for b in dict.fromkeys(blocks)]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    return [blocks[1:] for blocks in seen.values() if len(blocks) > 2]


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
