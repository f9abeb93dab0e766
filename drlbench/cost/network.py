"""One pass through a network on the meta device: forward, product for the input, gradient of the weights.

Shapes: B batch, C channels, H and W height and width.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

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

    @cached_property
    def _evaluated(self) -> tuple[Count, tuple[int, ...]]:
        made: list[Tensor] = []
        with torch.no_grad():
            count = counted(lambda: made.append(self._call(torch.empty(1, *self._given, device=META))))
        return count, tuple(made[0].shape[1:])

    def _product(self) -> None:
        x = torch.empty(1, *self._given, device=META, requires_grad=True)
        y = self._call(x)
        torch.autograd.grad(y, x, torch.empty_like(y))

    def _trained(self) -> None:
        with recompute_activations(self._net, self._recompute):
            y = self._call(torch.empty(1, *self._given, device=META))
        torch.autograd.grad(y, self._trainable, torch.empty_like(y), allow_unused=True)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of what comes out for one sample."""
        return self._evaluated[1]

    @property
    def forward(self) -> Count:
        """Without gradient."""
        return self._evaluated[0]

    @cached_property
    def product(self) -> Count:
        """With the gradient of the input, weights frozen."""
        for p in self._trainable:
            p.requires_grad_(False)
        found = counted(self._product)
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
        return counted(self._trained)
