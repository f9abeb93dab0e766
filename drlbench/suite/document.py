"""A suite's file as plain values that remember their places, so that every mistake is told with file:line:column.

A suite is one YAML document of at most `MAX_BYTES`, with the assignments of `--set` applied.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drlbench.errors import UserError, did_you_mean, shown
from drlbench.suite.syntax import Place, excerpt, parse

MAX_BYTES = 1_000_000

Location = tuple[str | int, ...]


@dataclass(frozen=True)
class Problem:
    """One mistake: where in the document, and what would be right."""

    at: Location
    message: str


@dataclass(frozen=True)
class Document:
    """What a file says.

    Attributes:
        path: the file; where: what messages call it.
        text: as read, before `--set`.
        values: the mapping, `--set` applied.
        overrides: the assignments, in order; `assigned` are the locations they set.
    """

    path: Path
    text: str
    values: dict[str, Any]
    places: Place
    overrides: tuple[str, ...] = ()
    assigned: tuple[Location, ...] = ()

    def error(self, problems: Iterable[Problem]) -> UserError:
        """One error that names every problem with its place, in the order of the file, each once."""
        told = {(self._place(p.at), p.at, p.message): None for p in problems}
        lines = []
        for (line, column), at, message in sorted(told, key=lambda found: found[0]):
            where = ".".join(map(shown, map(str, at))) or "suite"
            by = next((o for o, a in zip(self.overrides, self.assigned, strict=True) if at[: len(a)] == a), None)
            if by is not None:
                lines.append(f"{shown(self.path)}: --set {shown(by)}: {where}: {message}")
            else:
                lines.append(f"{shown(self.path)}:{line}:{column}: {where}: {message}{excerpt(self.text, line)}")
        return UserError("\n".join(lines))

    def _place(self, at: Location) -> tuple[int, int]:
        """Of the deepest part of `at` that stands in the file."""
        place = self.places
        for part in at:
            if part not in place.within:
                break
            place = place.within[part]
        return place.line, place.column


def read_document(path: Path, overrides: tuple[str, ...] = ()) -> Document:
    """Read a suite file and apply `key.path=value` assignments, whose values are read as YAML.

    Raises:
        UserError: no such file, not one YAML document of plain values, or beyond a limit; an assignment to nowhere.
    """
    text = _read(path)
    values, places = parse(text, shown(path))
    if values is None:
        raise UserError(f"{shown(path)}: the file is empty; a suite starts with `suite: NAME`")
    if not isinstance(values, dict):
        raise UserError(f"{shown(path)}:1:1: a suite is a mapping of keys to values, not a {type(values).__name__}")
    assigned = tuple(_assign(values, assignment) for assignment in overrides)
    return Document(path, text, values, places, overrides, assigned)


def _read(path: Path) -> str:
    name = shown(path)
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise UserError(f"{name}: is a folder, not a suite file")
        if not stat.S_ISREG(mode):
            raise UserError(f"{name}: is a device or a pipe, not a suite file")
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        near = sorted(p.stem for p in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        raise UserError(f"{name}: no such suite file{did_you_mean(path.stem, near)}") from None
    except OSError as error:
        raise UserError(f"{name}: {error.strerror}") from None
    except ValueError as error:  # a zero byte in the name
        raise UserError(f"{name}: {error}") from None
    if len(content) > MAX_BYTES:
        raise UserError(f"{name}: larger than {MAX_BYTES} bytes, which no suite is")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{name}: is not UTF-8 text (byte {error.start})") from None


def _assign(values: dict[str, Any], assignment: str) -> Location:
    """Apply one `key.path=value`; returns where it was set."""
    told = f"--set '{shown(assignment)}'"
    name, equals, text = assignment.partition("=")
    if not equals or not name:
        raise UserError(f"{told}: write it as key.path=value")
    try:
        value, _ = parse(text, told)
    except UserError as error:
        raise UserError(f"{told}: the value is not valid YAML ({str(error).splitlines()[0]})") from None
    node: Any = values
    at: list[str | int] = []
    *parents, last = name.split(".")
    for part in parents:
        if isinstance(node, list) and part.isdecimal() and int(part) < len(node):
            at.append(int(part))
        elif isinstance(node, dict) and part in node:
            at.append(part)
        else:
            keys = list(node) if isinstance(node, dict) else []
            raise UserError(f"{told}: no key '{shown(part)}' there{did_you_mean(part, keys)}")
        node = node[at[-1]]
    if isinstance(node, dict):
        at.append(last)
    elif isinstance(node, list) and last.isdecimal() and int(last) < len(node):
        at.append(int(last))
    else:
        single = f"'{shown('.'.join(parents))}' is a single value"
        raise UserError(f"{told}: {single if not isinstance(node, list) else 'the list'} has no key '{shown(last)}'")
    node[at[-1]] = value
    return tuple(at)
