"""Reads plain tables of numpy arrays out of pickle files without unpickling them.

A pickle is a program; running somebody else's is running somebody else's code. This reader steps through the
opcodes itself and knows only those that build dicts, lists, tuples, strings, numbers and numpy arrays. Nothing is
imported and nothing is called: the few constructors numpy writes are recognised by name and rebuilt here.
"""

from __future__ import annotations

import pickletools
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


class _Mark:
    """Where an opcode that takes many values starts to take them."""


@dataclass
class _Machine:
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
_ALLOWED = _CONSTRUCTORS | {"_codecs encode", "dnnlib.util EasyDict", "collections OrderedDict"}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
_NUMBERS = {"BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "LONG4", "BINFLOAT", "FLOAT"}
_TEXTS = {"BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE", "SHORT_BINSTRING", "BINSTRING", "STRING"}
_BYTES = {"BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"}
_LITERALS = _NUMBERS | _TEXTS | _BYTES


def read_tables(content: bytes, where: str) -> Any:
    """The object of a pickle made of dicts, lists, tuples, strings, numbers and numeric numpy arrays.

    Raises:
        IntegrityError: the file is damaged, or mentions anything else (which is named); nothing of it was run.
    """
    machine = _Machine()
    try:
        for opcode, argument, _ in pickletools.genops(content):
            if opcode.name == "STOP":
                return _finished(machine.stack.pop())
            _step(machine, opcode.name, argument, where)
    except (ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
        raise IntegrityError(f"{where}: damaged, or not a table of numbers ({error})") from error
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
    elif name in ("REDUCE", "NEWOBJ"):
        arguments, target = stack.pop(), stack.pop()
        stack.append(_construct(target, arguments, where))
    elif name == "BUILD":
        state = stack.pop()
        _build(stack[-1], state, where)
    else:
        raise IntegrityError(f"{where}: uses the opcode {name}, which a table of arrays does not need; it is not read")


def _construct(target: _Name, arguments: tuple[Any, ...], where: str) -> Any:
    kind = target.qualified.split(" ")[1]
    if kind in ("EasyDict", "OrderedDict"):
        return dict(*arguments)
    if kind == "_reconstruct":
        return _Array()
    if kind == "dtype":
        return _Type(str(arguments[0]))
    if kind == "encode":
        return arguments[0].encode(arguments[1])
    if kind == "scalar":
        return np.frombuffer(arguments[1], dtype=_dtype(arguments[0], where))[0]
    if kind == "_frombuffer":
        buffer, dtype, shape, order = arguments
        return np.frombuffer(buffer, dtype=_dtype(dtype, where)).reshape(shape, order=order)
    raise IntegrityError(f"{where}: calls {target.qualified.replace(' ', '.')}; it is not read")


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


def _finished(value: Any) -> Any:
    """The value with every placeholder replaced by its array."""
    if isinstance(value, _Array):
        if value.value is None:
            raise ValueError("an array without content")
        return value.value
    if isinstance(value, dict):
        return {_finished(k): _finished(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_finished(v) for v in value)
    if isinstance(value, (_Name, _Type, _Mark)):
        raise ValueError("a name where a number was expected")
    return value
