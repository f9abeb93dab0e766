"""What runs inside a context, counted: floating-point operations, kernels, random numbers.

`torch.utils.flop_counter.FlopCounterMode` also attributes operations to modules, and fails for that where gradients are
taken with `torch.autograd.grad` of a leaf, which is how the engine takes all of its gradients. Tensors on the meta
device count as well as any, and cost neither time nor memory. What would be read off one of them (a logged loss, the
test that a norm is finite) reads as one, so that training code runs there as it stands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

_aten = torch.ops.aten
_DRAWS = {_aten.randn, _aten.rand, _aten.normal_, _aten.uniform_, _aten.randn_like, _aten.rand_like, _aten.bernoulli_}


def _symmetric_eigen(shape: torch.Size, *_: Any, **__: Any) -> int:
    """Tridiagonal form, iterations and vectors: 9 n^3, by the usual count."""
    return 9 * shape[-1] ** 3


@dataclass(frozen=True)
class Count:
    """What was executed.

    Attributes:
        flops: operations of matrix products, convolutions and attention; a multiplication with its addition is two.
        kernels: operators that compute something, one after another.
        draws: random numbers.
    """

    flops: int
    kernels: int
    draws: int

    def plus(self, other: Count, times: int = 1) -> Count:
        """With another one so often."""
        return Count(
            self.flops + times * other.flops, self.kernels + times * other.kernels, self.draws + times * other.draws
        )


class Operations(TorchDispatchMode):
    """Counts while it is entered; see `Count`."""

    def __init__(self) -> None:
        super().__init__()
        self.total = self.kernels = self.draws = 0

    def __torch_dispatch__(
        self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs, packet = kwargs or {}, func._overloadpacket
        if packet is _aten._local_scalar_dense and args[0].is_meta:
            return torch.ones((), dtype=args[0].dtype).item()
        if packet is _aten._to_copy and args[0].is_meta and str(kwargs.get("device")) == "cpu":
            return torch.ones(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)
        formula = flop_registry.get(packet)
        if formula is None:
            with self:  # what it is made of may count
                parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
        result = func(*args, **kwargs)
        if formula is not None:
            self.total += formula(*args, **kwargs, out_val=result)
        elif packet is _aten._linalg_eigh:
            self.total += _symmetric_eigen(args[0].shape)
        self.kernels += not func.is_view
        if packet in _DRAWS and isinstance(result, Tensor):
            self.draws += result.numel()
        return result


def counted(work: Callable[[], object]) -> Count:
    """What one call does."""
    with Operations() as found:
        work()
    return Count(found.total, found.kernels, found.draws)


def operations(work: Callable[[], object]) -> int:
    """Floating-point operations of one call."""
    return counted(work).flops
