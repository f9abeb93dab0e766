"""Floating-point operations of whatever runs inside a context, as PyTorch's own formulas count them.

`torch.utils.flop_counter.FlopCounterMode` also attributes them to modules, and fails for that where gradients are taken
with `torch.autograd.grad` of a leaf, which is how the engine takes all of its gradients. Tensors on the meta device
count as well as any, and cost neither time nor memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class Operations(TorchDispatchMode):
    """`total` operations of matrix products, convolutions and attention; a multiplication with its addition is two."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(
        self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        formula = flop_registry.get(func._overloadpacket)
        if formula is None:
            with self:  # what it is made of may count
                parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
        result = func(*args, **kwargs)
        if formula is not None:
            self.total += formula(*args, **kwargs, out_val=result)
        return result


def operations(work: Callable[[], object]) -> int:
    """Operations of one call."""
    with Operations() as counted:
        work()
    return counted.total
