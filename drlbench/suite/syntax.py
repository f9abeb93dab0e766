"""YAML to plain values and their places.

YAML 1.2's core schema: 1e-3 is a number and `on` a word. A suite is one document of mappings, lists and single values;
tags are refused, since a suite builds no objects. Limits: `MAX_DEPTH` mappings and lists within one another,
`MAX_VALUES` values once aliases are written out, whole numbers below 2^63.
"""

from __future__ import annotations

import copy
import math
import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from drlbench.errors import UserError, shown

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


@dataclass
class Place:
    """Line and column (from 1) of a key or a list's entry, and the places of what is in its value."""

    line: int
    column: int
    within: dict[str | int, Place] = field(default_factory=dict)


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
        raise UserError(f"{where}{place}: {problem}{excerpt(text, mark.line + 1 if mark else None)}") from None
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
        return UserError(f"{self.where}:{at[0]}:{at[1]}: {message}{excerpt(self.text, at[0])}")

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


def excerpt(text: str, line: int | None) -> str:
    """The line of a message, as far as it can be shown."""
    lines = text.splitlines()
    if line is None or not 0 < line <= len(lines) or not lines[line - 1].strip():
        return ""
    return f"\n    | {shown(lines[line - 1], EXCERPT)}"
