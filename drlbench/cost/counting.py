"""What runs inside a context, counted: floating-point operations, kernels, random numbers.

`torch.utils.flop_counter.FlopCounterMode` also attributes operations to modules, and fails for that where gradients are
taken with `torch.autograd.grad` of a leaf, which is how the engine takes all of its gradients. Tensors on the meta
device count as well as any, and cost neither time nor memory. What would be read off one of them (a logged loss, the
test that a norm is finite) reads as one, so that training code runs there as it stands.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

_aten = torch.ops.aten
_empty = _aten.empty_strided.default
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


class _Known(NamedTuple):
    """What an operator does with meta tensors of given shapes: its counts, and its result.

    Attributes:
        made: shape, strides and dtype of every tensor that it makes (None: a missing one), or "self" where it gives
            back its first argument.
        single: it makes one tensor rather than a tuple of them.
    """

    counts: Count
    made: tuple[Any, ...] | Literal["self"]
    single: bool


# Networks repeat themselves: of a hundred thousand operators a few thousand differ. Working out what one does on the
# meta device takes a hundred times as long as looking it up.
_known: dict[Hashable, _Known] = {}
_views: set[Any] = set()


class Operations(TorchDispatchMode):
    """Counts while it is entered; see `Count`."""

    def __init__(self) -> None:
        super().__init__()
        self.total = self.kernels = self.draws = 0

    def __torch_dispatch__(
        self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _views:
            return func(*args, **kwargs)
        try:
            key = func, _shapes(args), _shapes(tuple(kwargs.items()))
            known = _known.get(key)
        except _OtherDevice:
            return self._run(func, args, kwargs)
        if known is None:
            before = self.total, self.kernels, self.draws
            result = self._run(func, args, kwargs)
            after = self.total, self.kernels, self.draws
            _remember(key, func, args, result, Count(*(b - a for a, b in zip(before, after, strict=True))))
            return result
        self.total += known.counts.flops
        self.kernels += known.counts.kernels
        self.draws += known.counts.draws
        if known.made == "self":
            return args[0]
        made = [m and _empty(m[0], m[1], dtype=m[2], device="meta") for m in known.made]
        return made[0] if known.single else tuple(made)

    def _run(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        packet = func._overloadpacket
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
        if func.is_view:  # one step, and no work
            _views.add(func)
            return func(*args, **kwargs)
        result = func(*args, **kwargs)
        if formula is not None:
            self.total += formula(*args, **kwargs, out_val=result)
        elif packet is _aten._linalg_eigh:
            self.total += _symmetric_eigen(args[0].shape)
        self.kernels += 1
        if packet in _DRAWS and isinstance(result, Tensor):
            self.draws += result.numel()
        return result


class _OtherDevice(Exception):
    """A tensor that has values."""


def _shapes(value: Any) -> Hashable:
    """Arguments as something that can be looked up: of tensors what the meta device knows of them."""
    if isinstance(value, Tensor):
        if not value.is_meta:
            raise _OtherDevice
        return value.shape, value.stride(), value.dtype
    if isinstance(value, tuple | list):
        return tuple([_shapes(v) for v in value])
    return type(value), value  # 1 and 1.0 are told apart


def _remember(key: Hashable, func: Any, args: tuple[Any, ...], result: Any, count: Count) -> None:
    """Keep what an operator did, unless its result is a view of its arguments or has values."""
    if args and result is args[0]:
        if isinstance(result, Tensor) and _shapes(result) == key[1][0]:  # type: ignore[index] # a triple
            _known[key] = _Known(count, "self", True)
        return
    parts = (result,) if isinstance(result, Tensor) else result
    if any(r.alias_info is not None for r in func._schema.returns) or func._schema.is_mutable:
        return
    if not isinstance(parts, tuple) or any(p is not None and not getattr(p, "is_meta", False) for p in parts):
        return
    made = tuple(p if p is None else (p.shape, p.stride(), p.dtype) for p in parts)
    _known[key] = _Known(count, made, isinstance(result, Tensor))


def counted(work: Callable[[], object]) -> Count:
    """What one call does."""
    with Operations() as found:
        work()
    return Count(found.total, found.kernels, found.draws)


def operations(work: Callable[[], object]) -> int:
    """Floating-point operations of one call."""
    return counted(work).flops
