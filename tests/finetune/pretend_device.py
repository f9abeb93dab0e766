"""A device that is none: tensors that say they are on it hold a CPU tensor and refuse to meet others, as CUDA's do.

It finds what a GPU would refuse: tensors of two devices in one operation, a generator of another device, a NumPy view
of device memory, random numbers from the device's global generator without a seed. It computes on the CPU and draws
from CPU generators, so that results have the same bits as a run on the CPU. The name of the device is registered for
good: only a process of its own may import this module.
"""

from __future__ import annotations

import types
import weakref
from collections import Counter
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from torch.utils import _pytree as tree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

NAME = "pretend"
DEVICE = f"{NAME}:0"
aten = torch.ops.aten

COPIES = {aten.copy_.default, aten._to_copy.default, aten._copy_from.default}
INDEXED = {
    aten.index.Tensor,
    aten.index_put_.default,
    aten.index_put.default,
    aten._index_put_impl_.default,
    aten._unsafe_index.Tensor,
    aten._unsafe_index_put.default,
}
# Besides pointwise operations these take a CPU number of no dimensions.
TAKE_NUMBERS = {aten.masked_fill.Tensor, aten.masked_fill_.Tensor, aten.fill_.Tensor}
HOST_READS = {aten._local_scalar_dense.default, aten.nonzero.default, aten.equal.default}


class _Backend(_DummyBackendModule, types.ModuleType):
    """What torch asks of a device's module: activation checkpointing its generators' states, autocast its types."""

    _initialized = False

    def __init__(self) -> None:
        types.ModuleType.__init__(self, f"torch.{NAME}")

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]


_setup_privateuseone_for_python_backend(NAME, _Backend())


class Pretended(Tensor):
    """Says it is on the device; `raw` is the CPU tensor."""

    raw: Tensor

    @staticmethod
    def __new__(cls, raw: Tensor) -> Self:
        made: Any = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined] # not in the stubs
            cls,
            raw.shape,
            strides=raw.stride(),
            storage_offset=raw.storage_offset(),
            dtype=raw.dtype,
            device=DEVICE,
            requires_grad=False,
        )
        made.raw = raw
        return made  # type: ignore[no-any-return] # the same

    __torch_function__ = torch._C._disabled_torch_function_impl

    def tolist(self) -> Any:
        Mode.reads["tolist"] += 1
        return self.raw.tolist()

    def numpy(self, *, force: bool = False) -> Any:
        raise TypeError(f"can't convert {DEVICE} device type tensor to numpy")

    def untyped_storage(self) -> torch.UntypedStorage:
        return self.raw.untyped_storage()  # safetensors looks here for memory that two tensors share

    def __array__(self, *_: Any, **__: Any) -> Any:
        return self.numpy()

    @classmethod
    def __torch_dispatch__(cls, op: Any, kinds: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(op, args, kwargs or {})


_CPUGenerator = torch.Generator


class Generator(_CPUGenerator):
    """A CPU generator that says it is of the device it was made for."""

    made_for: ClassVar[dict[int, torch.device]] = {}  # an operation sees only what lies below the Python object

    def __new__(cls, device: Any = "cpu") -> Self:
        made = super().__new__(cls, device="cpu")
        cls.made_for[made._cdata] = torch.device(device)
        weakref.finalize(made, cls.made_for.pop, made._cdata)
        return made

    @property
    def device(self) -> torch.device:
        return self.made_for[self._cdata]


def _is_pretended(device: Any) -> bool:
    return device is not None and torch.device(device).type == NAME


class Refused(RuntimeError):
    """What CUDA would refuse too."""


def _refuse(op: Any, why: str) -> None:
    raise Refused(f"{op}: {why}")


def _check(op: Any, args: Any, kwargs: Any, own: list[Pretended], plain: list[Tensor]) -> None:
    if not own or not plain or op in COPIES:
        return
    if op in INDEXED:
        if not isinstance(args[0], Pretended):
            _refuse(op, "a CPU tensor indexed by a device's")
        values = [x for x in args[2:3] if isinstance(x, Tensor) and not isinstance(x, Pretended) and x.ndim]
        if values:
            _refuse(op, "CPU values put into a device's tensor")
        return
    for x in plain:
        if x.ndim:
            _refuse(op, f"a CPU tensor {tuple(x.shape)} meets a device's {tuple(own[0].shape)}")
    if torch.Tag.pointwise not in op.tags and op not in TAKE_NUMBERS:
        _refuse(op, "a CPU number where a device's is needed")
    if op._schema.is_mutable and args and not isinstance(args[0], Pretended):
        _refuse(op, "a CPU tensor changed by a device's")


def _check_draw(op: Any, generator: Any, on_device: bool) -> None:
    if generator is None:
        if on_device and torch.Tag.nondeterministic_seeded in op.tags and not _draws_nothing(op):
            Mode.unseeded[str(op)] += 1
        return
    where = Generator.made_for.get(generator._cdata, torch.device("cpu"))
    if (where.type == NAME) != on_device:
        _refuse(op, f"a generator of {where} for a tensor {'of the device' if on_device else 'on the CPU'}")


def _draws_nothing(op: Any) -> bool:
    """Attention is tagged as random, for its dropout, which is none here."""
    return "attention" in str(op)


def _bare(x: Any) -> Any:
    return x.raw if isinstance(x, Pretended) else x


def run(op: Any, args: Any, kwargs: Any) -> Any:
    """One operation: checked, computed on the CPU, wrapped."""
    leaves = tree.tree_leaves((args, kwargs))
    own = [x for x in leaves if isinstance(x, Pretended)]
    plain = [x for x in leaves if isinstance(x, Tensor) and not isinstance(x, Pretended)]
    _check(op, args, kwargs, own, plain)
    target = kwargs.get("device")
    to_device = bool(own) if target is None else _is_pretended(target)
    generator = next((x for x in leaves if isinstance(x, _CPUGenerator)), None)
    _check_draw(op, generator, to_device)
    if own and op in HOST_READS:
        Mode.reads[str(op)] += 1
    if (op in COPIES and own and plain) or (op is aten._to_copy.default and bool(own) != to_device):
        Mode.moves["copies between host and device"] += 1

    inner_args, inner_kwargs = tree.tree_map(_bare, (args, kwargs))
    if "device" in inner_kwargs and inner_kwargs["device"] is not None:
        inner_kwargs["device"] = torch.device("cpu")
    inner_kwargs.pop("pin_memory", None)
    found = op(*inner_args, **inner_kwargs)
    if op is aten._local_scalar_dense.default:
        return found
    if op._schema.is_mutable:
        # What was changed in place comes back as the object that was given.
        known = {id(_bare(x)): x for x in leaves if isinstance(x, Tensor)}
        return tree.tree_map(lambda x: known.get(id(x), x) if isinstance(x, Tensor) else x, found)
    if not to_device:
        return found
    return tree.tree_map(lambda x: Pretended(x) if isinstance(x, Tensor) else x, found)


class Mode(TorchDispatchMode):
    """Inside, `torch.zeros(2, device="pretend")` and all that follows from it work.

    Attributes:
        reads, moves: how often the host read from the device, and copied to or from it.
        unseeded: draws from the device's global generator.
    """

    reads: ClassVar[Counter[str]] = Counter()
    moves: ClassVar[Counter[str]] = Counter()
    unseeded: ClassVar[Counter[str]] = Counter()

    def __torch_dispatch__(self, op: Any, kinds: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(op, args, kwargs or {})

    def __enter__(self) -> Self:
        torch.Generator = Generator  # type: ignore[misc] # put back below
        super().__enter__()
        return self

    def __exit__(self, *reason: Any) -> None:
        super().__exit__(*reason)
        torch.Generator = _CPUGenerator  # type: ignore[misc] # as above


# `torch.tensor(..., device=...)` copies below every mode.
_below = torch.library.Library("aten", "IMPL")


def _copy_from(source: Tensor, target: Tensor, non_blocking: bool = False) -> Tensor:
    for x in (source, target):
        assert isinstance(x, Pretended) or x.device.type == "cpu"
    _bare(target).copy_(_bare(source))
    return target


_below.impl(
    "empty_strided", lambda size, stride, **_: run(aten.empty_strided.default, (size, stride), _), "PrivateUse1"
)
_below.impl("_copy_from", _copy_from, "PrivateUse1")


# CUDA's autocast, for what networks here are made of: its lists differ from those of a CPU.
_autocast = torch.library.Library("_", "IMPL")
_autocast.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
LOWER = ("linear", "matmul", "mm", "addmm", "bmm", "baddbmm", "conv2d", "scaled_dot_product_attention")
UPPER = ("layer_norm", "group_norm", "softmax.int", "log_softmax.int", "mse_loss", "norm.Scalar", "cumsum", "exp",
         "pow.Tensor_Scalar", "rsqrt", "sum", "sum.dim_IntList")  # fmt: skip


def _casting(name: str, wanted: Any) -> Any:
    packet, _, overload = name.partition(".")
    op = getattr(getattr(aten, packet), overload or "default")
    keys = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastPrivateUse1)

    def cast(x: Any, to: torch.dtype) -> Any:
        return x.to(to) if isinstance(x, Tensor) and x.dtype in (torch.float32, torch.bfloat16) else x

    def kernel(*args: Any, **kwargs: Any) -> Any:
        with torch._C._ExcludeDispatchKeyGuard(keys):
            to = torch.float32 if wanted is None else torch.get_autocast_dtype(NAME)
            return op(*tree.tree_map(lambda x: cast(x, to), args), **tree.tree_map(lambda x: cast(x, to), kwargs))

    _below.impl(name, kernel, "AutocastPrivateUse1")


for _name in LOWER:
    _casting(_name, "lower")
for _name in UPPER:
    _casting(_name, None)


def clear() -> None:
    """Start counting anew."""
    for counter in (Mode.reads, Mode.moves, Mode.unseeded):
        counter.clear()
