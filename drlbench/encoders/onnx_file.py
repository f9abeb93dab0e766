"""Nodes and weights of an ONNX file, read off its bytes: no package that could run the graph is needed.

Only what the format (protocol buffers, onnx.proto) says of nodes and of float32 initialisers stored raw; anything else
is refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from drlbench.errors import IntegrityError

FLOAT32 = 1  # TensorProto.DataType
GRAPH, NODE, INITIALISER = 7, 1, 5  # field numbers: in the model; in the graph
NODE_INPUT, NODE_OPERATION = 1, 4
DIMENSIONS, DATA_TYPE, NAME, RAW = 1, 2, 8, 9


@dataclass(frozen=True)
class OnnxFile:
    """What is in the file.

    Attributes:
        nodes: operation and names of inputs, in the order of execution.
        tensors: float32 initialisers by name.
    """

    nodes: tuple[tuple[str, tuple[str, ...]], ...]
    tensors: dict[str, Tensor]


def read_onnx(path: Path) -> OnnxFile:
    """Read a file.

    Raises:
        IntegrityError: it is damaged, or not an ONNX file.
    """
    nodes: list[tuple[str, tuple[str, ...]]] = []
    tensors: dict[str, Tensor] = {}
    try:
        for number, graph in _fields(memoryview(path.read_bytes())):
            if number != GRAPH or isinstance(graph, int):
                continue
            for kind, part in _fields(graph):
                if isinstance(part, int):
                    continue
                if kind == NODE:
                    found = list(_fields(part))
                    operation = next(_text(value) for number, value in found if number == NODE_OPERATION)
                    nodes.append((operation, tuple(_text(value) for number, value in found if number == NODE_INPUT)))
                elif kind == INITIALISER:
                    name, tensor = _tensor(part)
                    if tensor is not None:
                        tensors[name] = tensor
    except (IndexError, ValueError, StopIteration, KeyError) as error:
        raise IntegrityError(f"{path}: cannot be read as ONNX ({error})") from error
    if not nodes or not tensors:
        raise IntegrityError(f"{path}: holds no ONNX graph with weights")
    return OnnxFile(tuple(nodes), tensors)


def _tensor(content: memoryview) -> tuple[str, Tensor | None]:
    """Name and values of an initialiser; None for another type than float32 (a shape, an axis)."""
    shape: list[int] = []
    single: dict[int, int | memoryview] = {}
    for number, value in _fields(content):
        if number == DIMENSIONS:
            shape += [value] if isinstance(value, int) else _packed(value)
        else:
            single[number] = value
    name = _text(single[NAME])
    if single[DATA_TYPE] != FLOAT32:
        return name, None
    raw = single.get(RAW, b"")
    if isinstance(raw, int) or len(raw) != 4 * math.prod(shape):
        raise ValueError(f"'{name}' of shape {shape} is not stored as raw float32")
    return name, torch.from_numpy(np.frombuffer(raw, "<f4").reshape(shape).astype(np.float32))


def _text(value: int | memoryview) -> str:
    if isinstance(value, int):
        raise ValueError("a number where a name should be")
    return bytes(value).decode()


def _packed(content: memoryview) -> list[int]:
    found, place = [], 0
    while place < len(content):
        value, place = _varint(content, place)
        found.append(value)
    return found


def _fields(content: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Field number and value of a message: an int, or the bytes of a string, message, float or double."""
    place = 0
    while place < len(content):
        tag, place = _varint(content, place)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, place = _varint(content, place)
            yield number, value
            continue
        if wire == 2:
            length, place = _varint(content, place)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire} at byte {place}")
        if place + length > len(content):
            raise ValueError(f"ends within a field of {length} bytes")
        yield number, content[place : place + length]
        place += length


def _varint(content: memoryview, place: int) -> tuple[int, int]:
    """A number in groups of seven bits, low ones first, and the place after it."""
    value = shift = 0
    while True:
        byte = content[place]
        place += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, place
