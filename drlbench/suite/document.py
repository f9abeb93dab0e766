"""A suite's YAML as plain values that remember their places, so that every mistake is told with file:line:column.

YAML 1.2's core schema: 1e-3 is a number and `on` a word. A suite is one document of mappings, lists and single values;
tags are refused, since a suite builds no objects. Limits: `MAX_BYTES` of text, `MAX_DEPTH` mappings and lists within
one another, `MAX_VALUES` values once aliases are written out, whole numbers below 2^63.
"""

from __future__ import annotations

import copy
import math
import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from drlbench.errors import UserError, did_you_mean, shown

MAX_BYTES = 1_000_000
MAX_DEPTH = 32
MAX_VALUES = 100_000
MAX_INTEGER = 2**63
EXCERPT = 100  # characters of a line that a message quotes

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's events where it is built in: thirty times faster
INTEGER = re.compile(r"[-+]?[0-9]+")
HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]+|0o[0-7]+")
NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
NO_NUMBER = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
WORDS = {"": None, "~": None, **dict.fromkeys(("null", "Null", "NULL"))} | {
    word: value for value, name in ((True, "true"), (False, "false")) for word in (name, name.title(), name.upper())
}

Location = tuple[str | int, ...]


@dataclass(frozen=True)
class Problem:
    """One mistake: where in the document, and what would be right."""

    at: Location
    message: str


@dataclass
class Place:
    """Line and column (from 1) of a key or a list's entry, and the places of what is in its value."""

    line: int
    column: int
    within: dict[str | int, Place] = field(default_factory=dict)


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
                lines.append(f"{shown(self.path)}:{line}:{column}: {where}: {message}{_excerpt(self.text, line)}")
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


def parse(text: str, where: str) -> tuple[Any, Place]:
    """Plain values of one YAML document, and their places.

    Args:
        where: what messages call the text.

    Raises:
        UserError: with `where`:line:column.
    """
    try:
        return _Reader(where, text).read()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        problem = shown((error.problem or error.context or "not valid YAML").strip().split("\n")[0])
        raise UserError(f"{where}{place}: {problem}{_excerpt(text, mark.line + 1 if mark else None)}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{where}: not valid YAML: {shown(str(error).splitlines()[0])}") from None


@dataclass
class _Open:
    """A mapping or list whose end has not come yet."""

    value: dict[str, Any] | list[Any]
    place: Place
    anchor: str | None
    size: int = 1
    key: str | None = None  # whose value comes next, and where it stands
    key_at: tuple[int, int] = (1, 1)


class _Reader:
    """Events to values, without recursion: a document's depth is bounded before anything is built."""

    def __init__(self, where: str, text: str) -> None:
        self.where, self.text = where, text
        self.open: list[_Open] = []
        self.anchors: dict[str, tuple[Any, Place, int] | None] = {}  # None while what it names is still open
        self.documents, self.root, self.places = 0, None, Place(1, 1)

    def read(self) -> tuple[Any, Place]:
        for event in yaml.parse(self.text, Loader=LOADER):
            mark: Any = event.start_mark
            at = (mark.line + 1, mark.column + 1)
            if isinstance(event, yaml.DocumentStartEvent):
                self.documents += 1
                if self.documents > 1:
                    raise self._error(at, "a suite is one document; another one starts here")
            elif isinstance(event, yaml.AliasEvent):
                self._alias(str(event.anchor), at)
            elif isinstance(event, yaml.ScalarEvent):
                self._define(event, at)
                self._scalar(event, at)
            elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
                self._define(event, at)
                self._begin(event, at)
            elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
                closed = self.open.pop()
                begun = (closed.place.line, closed.place.column)
                self._enter(closed.value, closed.place.within, begun, closed.size, closed.anchor)
        return self.root, self.places

    def _error(self, at: tuple[int, int], message: str) -> UserError:
        return UserError(f"{self.where}:{at[0]}:{at[1]}: {message}{_excerpt(self.text, at[0])}")

    def _define(self, event: Any, at: tuple[int, int]) -> None:
        if event.tag is not None:
            raise self._error(at, f"the tag '{shown(event.tag)}' is not allowed in a suite")
        if event.anchor is not None:
            if event.anchor in self.anchors:
                raise self._error(at, f"the anchor '{shown(event.anchor)}' is defined twice")
            self.anchors[event.anchor] = None

    def _begin(self, event: Any, at: tuple[int, int]) -> None:
        top = self.open[-1] if self.open else None
        kind = "mapping" if isinstance(event, yaml.MappingStartEvent) else "list"
        if top is not None and isinstance(top.value, dict) and top.key is None:
            raise self._error(at, f"a key is a name, not a {kind}")
        if len(self.open) == MAX_DEPTH:
            raise self._error(at, f"more than {MAX_DEPTH} mappings and lists within one another, which no suite has")
        self.open.append(_Open({} if kind == "mapping" else [], Place(*at), event.anchor))

    def _alias(self, anchor: str, at: tuple[int, int]) -> None:
        found = self.anchors.get(anchor)
        if found is None:
            what = "contains itself" if anchor in self.anchors else "is not defined before"
            raise self._error(at, f"the alias '*{shown(anchor)}' {what}")
        value, place, size = found
        # A copy, so that --set changes one place and not its namesakes.
        self._enter(copy.deepcopy(value) if size < MAX_VALUES else value, place.within, at, size, None)

    def _scalar(self, event: Any, at: tuple[int, int]) -> None:
        bad = next((c for c in event.value if (c < " " and c not in "\n\t") or "\x7f" <= c < "\xa0"), None)
        if bad is not None:
            raise self._error(at, f"the control character {bad!r} is not allowed in a suite")
        top = self.open[-1] if self.open else None
        if top is not None and isinstance(top.value, dict) and top.key is None:
            if event.value in top.value:
                raise self._error(at, f"duplicate key '{shown(event.value)}'")
            top.key, top.key_at = event.value, at
            if event.anchor is not None:
                self.anchors[event.anchor] = (event.value, Place(*at), 1)
            return
        value = self._resolved(event.value, at) if event.implicit[0] else event.value
        self._enter(value, {}, at, 1, event.anchor)

    def _resolved(self, word: str, at: tuple[int, int]) -> Any:
        """A plain scalar's value in YAML's core schema."""
        if word in WORDS:
            return WORDS[word]
        if INTEGER.fullmatch(word) or HEXADECIMAL.fullmatch(word):
            number = int(word, 0 if word[:2] in ("0x", "0o") else 10) if len(word) < 64 else MAX_INTEGER
            if abs(number) >= MAX_INTEGER:
                raise self._error(at, f"{shown(word)} is beyond 2^63, which no setting is")
            return number
        if NO_NUMBER.fullmatch(word) or (NUMBER.fullmatch(word) and not math.isfinite(float(word))):
            raise self._error(at, f"{shown(word)} is not a finite number")
        return float(word) if NUMBER.fullmatch(word) else word

    def _enter(
        self, value: Any, within: dict[str | int, Place], at: tuple[int, int], size: int, anchor: str | None
    ) -> None:
        """Put a finished value where it belongs."""
        place = Place(*at, within)
        if anchor is not None:
            self.anchors[anchor] = (value, place, size)
        if not self.open:
            self.root, self.places = value, place
            return
        top = self.open[-1]
        top.size += size
        if sum(o.size for o in self.open) > MAX_VALUES:
            raise UserError(f"{self.where}: more than {MAX_VALUES} values, aliases written out, which no suite has")
        if isinstance(top.value, list):
            top.place.within[len(top.value)] = place
            top.value.append(value)
        elif top.key is None:
            raise self._error(at, "a key is a name written out, not an alias")
        else:
            top.place.within[top.key] = Place(*top.key_at, within)
            top.value[top.key] = value
            top.key = None


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


def _excerpt(text: str, line: int | None) -> str:
    """The line of a message, as far as it can be shown."""
    lines = text.splitlines()
    if line is None or not 0 < line <= len(lines) or not lines[line - 1].strip():
        return ""
    return f"\n    | {shown(lines[line - 1], EXCERPT)}"
