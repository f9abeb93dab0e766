"""Read a weights file: safetensors or a torch checkpoint, never executing what it holds.

Formats: safetensors and torch checkpoints, whole or in parts with an index. Which copy of the weights is taken out of
what they hold is `drlbench.weights.copies`' to say.
"""

from __future__ import annotations

import argparse
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from drlbench.errors import UserError
from drlbench.weights.parts import parts_of

HEADER_BYTES = 64
PICKLE_STARTS = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
REFUSED = re.compile(r"GLOBAL ([\w.]+)")  # how torch names an object that its weights-only reader will not make


def read_checkpoint(path: str | Path) -> Mapping[str, Any]:
    """What a weights file holds, on the CPU: names to tensors, possibly some levels down.

    Of Python objects only argparse.Namespace is let in, because the authors' training scripts save their arguments; a
    torch checkpoint is memory-mapped, so unused copies of the weights are never read.

    Args:
        path: a file, the index of a set of files, one of its files, or the folder of any of these.

    Raises:
        MissingPrerequisite: there is no such file.
        UserError: the file is empty, truncated, no weights file, or holds objects that would run code.
    """
    parts = parts_of(path)
    if not parts.expected:
        return _read_file(parts.path)
    held: dict[str, Any] = {}
    for file in parts.files:
        content = _read_file(file)
        wanted = [name for name, place in parts.expected.items() if place == file]
        if absent := [name for name in wanted if name not in content]:
            raise UserError(
                f"{file}: lacks {len(absent)} tensors that {parts.path.name} lists: {', '.join(absent[:5])}"
            )
        held |= {name: content[name] for name in wanted}
    return held


def _read_file(path: Path) -> Mapping[str, Any]:
    with path.open("rb") as file:
        start = file.read(HEADER_BYTES)
    if not start:
        raise UserError(f"{path}: is empty (0 bytes); the download or copy did not finish")
    if path.suffix == ".safetensors" or (start[8:9] == b"{" and not start.startswith(PICKLE_STARTS)):
        return _read_safetensors(path)
    return _read_torch(path, start)


def _read_safetensors(path: Path) -> Mapping[str, Any]:
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path}: is truncated or no safetensors file ({_first_line(error)})") from error


def _read_torch(path: Path, start: bytes) -> Mapping[str, Any]:
    zipped = zipfile.is_zipfile(path)
    if not zipped and not start.startswith(PICKLE_STARTS):
        if start.startswith(b"PK"):
            raise UserError(f"{path}: is a truncated torch checkpoint; fetch it again")
        kind = "a web page" if start.lstrip()[:1] == b"<" else "neither a safetensors file nor a torch checkpoint"
        raise UserError(f"{path}: is {kind}")
    try:
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickles that torch did not write; what is wrong is said below
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except Exception as error:  # torch raises anything from UnpicklingError to OverflowError on damaged files
        if refused := REFUSED.search(str(error)):
            raise UserError(
                f"{path}: holds a Python object ({refused[1]}) that is no weight and could run code; nothing was loaded"
            ) from error
        raise UserError(
            f"{path}: is damaged or is no torch checkpoint of weights; nothing was loaded, fetch or copy it again"
        ) from error
    if not isinstance(content, Mapping):
        raise UserError(f"{path}: holds a {type(content).__name__}, not a table of tensors")
    return content


def _first_line(error: BaseException) -> str:
    text = str(error) or type(error).__name__
    return text.splitlines()[0][:200]
