"""Networks without their weights, on torch's meta device: shapes and mistakes are known in milliseconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

DRAWS = {"normal_", "uniform_", "trunc_normal_", "bernoulli_"}
FILLED = {torch.ones, torch.zeros, torch.rand, torch.randn}


class _Undrawn(TorchFunctionMode):
    """Nothing is drawn, filled or joined: on the meta device that only brings torch's compiler in (1.2 s)."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        if getattr(func, "__module__", "") == "torch.nn.init" or getattr(func, "__name__", "") in DRAWS:
            tensor = args[0] if args else given.get("tensor")
            if isinstance(tensor, Tensor) and tensor.is_meta:
                return tensor
        if func is torch.cat:
            return _joined(*args, **given)
        return torch.empty(*args, **given) if func in FILLED else func(*args, **given)


def _joined(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    shape = list(tensors[0].shape)
    shape[dim] = sum(t.shape[dim] for t in tensors)
    return tensors[0].new_empty(shape)


@contextmanager
def without_weights() -> Iterator[None]:
    """Whatever is constructed inside has parameters and buffers of the right shapes, on the meta device."""
    with torch.device("meta"), _Undrawn():
        yield
