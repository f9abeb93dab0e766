"""A policy with more capacity than its start: a second network of the same family beside it, whose output starts at 0.

The sum of the two is the start, bit for bit, until it is trained; where a family's velocity is linear in what its
network returns (all four here), the second network is a residual velocity. The weights of the start keep their names;
those of the second are under `beside.`.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from drlbench.backbones import create
from drlbench.backbones.sizes import resolve
from drlbench.errors import UserError, shown
from drlbench.registry import BACKBONES

BESIDE = "beside"


def beside_arguments(name: str, architecture: Mapping[str, Any], width: int, depth: int) -> dict[str, Any]:
    """Constructor arguments of the second network: the start's, but for its width and depth.

    Attention heads are as wide as the start's. Of RAE's two stacks the trunk gets `depth` blocks, the head one.

    Args:
        name: the start's family or published size; `architecture`: its arguments beside those of the size.

    Raises:
        UserError: the family's untrained networks do not return 0 (they have no heads), or the width does not divide.
    """
    family, own = resolve(name, BACKBONES.names())
    parameters = inspect.signature(BACKBONES.get(family)).parameters
    full = {n: p.default for n, p in parameters.items()} | own | dict(architecture)
    if not {"hidden_size", "depth", "num_heads"} <= full.keys():
        raise UserError(
            f"policy: a network of the family '{family}' cannot be put beside one; sit, jit, repa and rae networks can"
        )
    paired = not isinstance(full["hidden_size"], int)
    first = _first("hidden_size", full) // _first("num_heads", full)  # width of one head
    if width % first:
        raise UserError(f"policy: widen {width} is not a multiple of {first}, the width of one attention head")
    if width % 4:
        raise UserError(f"policy: widen {width} is not a multiple of 4 (two sines and cosines per token)")
    heads = width // first
    changed: dict[str, Any] = {
        "hidden_size": [width, width] if paired else width,
        "depth": [depth, 1] if paired else depth,
        "num_heads": [heads, heads] if paired else heads,
    }
    # What hangs on the depth, or is there for a training that the second network does not get.
    unused = {"in_context_start": 0, "encoder_depth": 1, "z_dims": [], "decoder_hidden_size": None}
    return {**own, **architecture, **changed, **{n: v for n, v in unused.items() if n in parameters}}


def _first(name: str, arguments: Mapping[str, Any]) -> int:
    value = arguments[name]
    first = value[0] if isinstance(value, Sequence) and value else value
    if not isinstance(first, int) or first < 1:
        raise UserError(f"policy: the start's {name}, {shown(value)}, is no width or number of heads")
    return first


def widen(net: nn.Module, name: str, architecture: Mapping[str, Any], width: int, depth: int) -> None:
    """Put a second network beside `net`, in place, drawn from torch's global generator; see `beside_arguments`."""
    second = create(name, **beside_arguments(name, architecture, width, depth))
    net.add_module(BESIDE, second)
    net.register_forward_hook(_add_beside)


def _add_beside(net: nn.Module, given: tuple[Any, ...], out: Tensor) -> Tensor:
    second: Tensor = net.get_submodule(BESIDE)(*given)
    return out + second
