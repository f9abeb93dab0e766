"""Reads plain tables of numpy arrays and torch tensors out of pickle files without unpickling them.

A pickle is a program; running somebody else's is running somebody else's code. This reader steps through the
opcodes itself and knows only those that build dicts, lists, tuples, strings, numbers and arrays. Nothing is imported
and nothing is called: the few constructors numpy and torch write are recognised by name and rebuilt here.

A table of statistics takes some hundred opcodes; a file of many more, or of deeper nesting, is refused at once.
"""

from __future__ import annotations

import math
import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drlbench.errors import IntegrityError


@dataclass(frozen=True)
class _Name:
    """A class or function the file mentions."""

    qualified: str


@dataclass
class _Array:
    """An array under construction."""

    value: NDArray[Any] | None = None


@dataclass
class _Type:
    """A dtype under construction."""

    code: str
    order: str = "="


@dataclass(frozen=True)
class _Storage:
    """Bytes of a torch tensor that lie beside the pickle."""

    kind: str
    key: str


Storages = Callable[[str, int], bytes]  # key and number of bytes needed -> the storage's content


class _Mark:
    """Where an opcode that takes many values starts to take them."""


@dataclass
class _Machine:
    storages: Storages | None = None
    stack: list[Any] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def to_mark(self) -> list[Any]:
        taken: list[Any] = []
        while self.stack and not isinstance(self.stack[-1], _Mark):
            taken.append(self.stack.pop())
        self.stack.pop()
        return taken[::-1]


_MODULES = ("numpy", "numpy.core.multiarray", "numpy._core.multiarray", "numpy.core.numeric", "numpy._core.numeric")
_CONSTRUCTORS = {f"{m} {n}" for m in _MODULES for n in ("_reconstruct", "ndarray", "dtype", "scalar", "_frombuffer")}
_TENSORS = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "HalfStorage": "<f2",
}
_TORCH = {"torch._utils _rebuild_tensor_v2", *(f"torch {name}" for name in _TENSORS)}
_DICTS = {"dnnlib.util EasyDict", "collections OrderedDict"}
_ALLOWED = _CONSTRUCTORS | _TORCH | _DICTS | {"_codecs encode"}
BUDGET = 20_000  # opcodes; EDM2's files, the longest known, have about a hundred
DEEPEST = 20  # tables inside tables
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
_NUMBERS = {"BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "LONG4", "BINFLOAT", "FLOAT"}
_TEXTS = {"BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE", "SHORT_BINSTRING", "BINSTRING", "STRING"}
_BYTES = {"BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"}
_LITERALS = _NUMBERS | _TEXTS | _BYTES


def read_tables(content: bytes, where: str, storages: Storages | None = None) -> Any:
    """The object of a pickle made of dicts, lists, tuples, strings, numbers and numeric arrays or tensors.

    Args:
        content: the pickle.
        where: what messages call it.
        storages: gives the tensors' bytes of a torch file.

    Raises:
        IntegrityError: the file is damaged, too long or too deep for a table of numbers, or mentions anything else
            (which is named); nothing of it was run.
    """
    machine = _Machine(storages)
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(content)):
            if opcode.name == "STOP":
                return _finished(machine.stack.pop(), {})
            if count >= BUDGET:
                raise IntegrityError(f"{where}: takes over {BUDGET:,} steps to read, which no table of numbers does")
            _step(machine, opcode.name, argument, where)
    except IntegrityError:
        raise
    except Exception as error:  # the content is anybody's, and may misuse any operation
        raise IntegrityError(f"{where}: damaged, or not a table of numbers ({str(error)[:200]})") from error
    raise IntegrityError(f"{where}: ends too early")


def _step(machine: _Machine, name: str, argument: Any, where: str) -> None:
    stack = machine.stack
    if name in ("PROTO", "FRAME"):
        return
    if name in _LITERALS:
        stack.append(argument)
    elif name in _CONSTANTS:
        stack.append(_CONSTANTS[name])
    elif name in _EMPTY:
        stack.append(_EMPTY[name]())
    elif name == "MARK":
        stack.append(_Mark())
    elif name == "TUPLE":
        stack.append(tuple(machine.to_mark()))
    elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
        count = int(name[-1])
        stack[-count:] = [tuple(stack[-count:])]
    elif name in ("SETITEM", "SETITEMS"):
        items = machine.to_mark() if name == "SETITEMS" else [stack.pop(-2), stack.pop()]
        stack[-1].update(zip(items[::2], items[1::2], strict=True))
    elif name in ("APPEND", "APPENDS"):
        items = machine.to_mark() if name == "APPENDS" else [stack.pop()]
        stack[-1].extend(items)
    elif name == "MEMOIZE":
        machine.memo[len(machine.memo)] = stack[-1]
    elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
        machine.memo[int(argument)] = stack[-1]
    elif name in ("GET", "BINGET", "LONG_BINGET"):
        stack.append(machine.memo[int(argument)])
    elif name in ("GLOBAL", "STACK_GLOBAL"):
        qualified = argument if name == "GLOBAL" else " ".join((stack.pop(-2), stack.pop()))
        if qualified not in _ALLOWED:
            raise IntegrityError(f"{where}: mentions {qualified.replace(' ', '.')}; only numpy arrays are read")
        stack.append(_Name(qualified))
    elif name == "BINPERSID" and machine.storages is not None:
        _, kind, key, _, _ = stack.pop()
        stack.append(_Storage(_TENSORS[kind.qualified.split(" ")[1]], str(key)))
    elif name in ("REDUCE", "NEWOBJ"):
        arguments, target = stack.pop(), stack.pop()
        stack.append(_construct(machine, target, arguments, where))
    elif name == "BUILD":
        state = stack.pop()
        _build(stack[-1], state, where)
    else:
        raise IntegrityError(f"{where}: uses the opcode {name}, which a table of arrays does not need; it is not read")


def _construct(machine: _Machine, target: _Name, arguments: tuple[Any, ...], where: str) -> Any:
    kind = target.qualified.split(" ")[1]
    if kind in ("EasyDict", "OrderedDict"):
        return dict(*arguments)
    if kind == "_reconstruct":
        return _Array()
    if kind == "dtype":
        return _Type(str(arguments[0]))
    if kind == "_rebuild_tensor_v2":
        return _tensor(machine, *arguments[:4])
    if kind == "encode":
        return arguments[0].encode(arguments[1])
    if kind == "scalar":
        return np.frombuffer(arguments[1], dtype=_dtype(arguments[0], where))[0]
    if kind == "_frombuffer":
        buffer, dtype, shape, order = arguments
        return np.frombuffer(buffer, dtype=_dtype(dtype, where)).reshape(shape, order=order)
    raise IntegrityError(f"{where}: calls {target.qualified.replace(' ', '.')}; it is not read")


def _tensor(machine: _Machine, storage: _Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> Any:
    """An array (size) of a tensor, row by row or column by column; anything else does not occur in statistics."""
    dtype, count = np.dtype(storage.kind), math.prod(size)
    assert machine.storages is not None and offset >= 0 and min(size, default=1) >= 0
    flat = np.frombuffer(machine.storages(storage.key, (offset + count) * dtype.itemsize), dtype)[
        offset : offset + count
    ]
    for order in ("C", "F"):
        value = flat.reshape(size, order=order)
        steps = [step // dtype.itemsize for step in value.strides]
        if all(own == theirs for own, theirs, side in zip(steps, stride, size, strict=True) if side > 1):
            return value
    raise ValueError("a tensor that is a view of another")


def _dtype(kind: Any, where: str) -> np.dtype[Any]:
    dtype = np.dtype(kind.code).newbyteorder(kind.order)
    if dtype.kind not in "biuf":
        raise IntegrityError(f"{where}: holds an array of {dtype}; only numbers are read")
    return dtype


def _build(target: Any, state: Any, where: str) -> None:
    if isinstance(target, _Type):
        target.order = state[1] if state[1] in "<>" else "="
    elif isinstance(target, _Array):
        _, shape, dtype, fortran, data = state
        flat = np.frombuffer(data, dtype=_dtype(dtype, where))
        target.value = flat.reshape(shape, order="F" if fortran else "C")
    elif isinstance(target, dict) and isinstance(state, dict):
        target.update(state)
    else:
        raise IntegrityError(f"{where}: sets the state of an object; only numpy arrays are read")


def _finished(value: Any, known: dict[int, Any], depth: int = 0) -> Any:
    """The value with every placeholder replaced by its array; what occurs many times is finished once."""
    if depth > DEEPEST:
        raise ValueError(f"tables inside tables, more than {DEEPEST} deep")
    if isinstance(value, _Array):
        if value.value is None:
            raise ValueError("an array without content")
        return value.value
    if isinstance(value, (dict, list, tuple)):
        if id(value) not in known:
            known[id(value)] = None  # stands for itself where a table holds itself
            if isinstance(value, dict):
                made: Any = {k: _finished(v, known, depth + 1) for k, v in value.items()}
            else:
                made = type(value)(_finished(v, known, depth + 1) for v in value)
            known[id(value)] = made
        return known[id(value)]
    if isinstance(value, (_Name, _Type, _Mark, _Storage)):
        raise ValueError("a name where a number was expected")
    return value
