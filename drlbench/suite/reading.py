"""A document to a typed suite, with every mistake that types and names can show.

One mistake must not hide the others, nor be told twice: what does not fit is taken out, a misspelt key is read as what
it must have meant, and the rest is looked at as well.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ValidationError

from drlbench.errors import did_you_mean, shown
from drlbench.suite.document import Document, Location, Problem
from drlbench.suite.keys import NAME
from drlbench.suite.references import cross_references
from drlbench.suite.schema import SuiteSpec

ATTEMPTS = 8  # taking out one mistake may show another around it
CLOSE = 0.8  # similarity of two keys, of which one is then the other misspelt


def read_spec(document: Document) -> tuple[SuiteSpec | None, list[Problem]]:
    """The typed content and what is wrong with it; None where too little is left to go on with."""
    values = document.values
    problems: list[Problem] = []
    removed: set[Location] = set()
    for _ in range(ATTEMPTS):
        try:
            spec = SuiteSpec.model_validate(values)
        except ValidationError as error:
            meant = _misspelt(error, values)
            found = [p for p in problems_of(error, SuiteSpec) if p.at not in meant.values()]  # not missing, after all
            problems += [p for p in found if not _follows(p, removed)]
            values = copy.deepcopy(values)
            for at, other in meant.items():
                beside = _at(values, at[:-1])
                beside[other[-1]] = beside.pop(at[-1])
            if not all([_take_out(values, problem.at, removed) for problem in found if problem.at not in meant]):
                return None, problems
            continue
        told = [Problem(at, text) for at, text in cross_references(spec)]
        known = [p for p in told if not _follows(p, removed) and not _names_any(p.message, [at[-1] for at in removed])]
        return spec, problems + known
    return None, problems


def _follows(problem: Problem, removed: Iterable[Location]) -> bool:
    """Whether it is about what was taken out: now missing itself, or an item or key of what stands there."""
    deep = len(problem.at)
    below = [at[deep:] for at in removed if at[:deep] == problem.at]
    return any(not rest or isinstance(rest[0], int) or _names_any(problem.message, rest) for rest in below)


def _names_any(text: str, parts: Iterable[str | int]) -> bool:
    return any(isinstance(part, str) and (repr(part) in text or f"`{part}`" in text) for part in parts)


def _misspelt(error: ValidationError, values: dict[str, Any]) -> dict[Location, Location]:
    """Where an unknown key stands -> where it should: a valid key is close to it, and neither there nor meant twice."""
    found: dict[Location, Location] = {}
    for each in error.errors(include_url=False):
        *within, key = each["loc"]
        if each["type"] == "extra_forbidden" and isinstance(beside := _at(values, within), dict):
            for near in difflib.get_close_matches(str(key), _valid_keys(SuiteSpec, within), n=1, cutoff=CLOSE):
                if near not in beside and (*within, near) not in found.values():
                    found[*within, key] = (*within, near)
    return found


def _at(values: Any, location: Iterable[str | int]) -> Any:
    """What stands there, if anything does."""
    for part in location:
        try:
            values = values[part]
        except (KeyError, IndexError, TypeError):
            return None
    return values


def _take_out(values: dict[str, Any], at: Location, removed: set[Location]) -> bool:
    """Remove the deepest part of `at` that is there; False where nothing is."""
    node: Any = values
    path: list[str | int] = []
    for part in at:
        inside = (isinstance(node, dict) and part in node) or (
            isinstance(node, list) and isinstance(part, int) and part < len(node)
        )
        if not inside:
            break
        path.append(part)
        node = node[part]
    if not path:
        return False
    for part in path[:-1]:
        values = values[part]  # type: ignore[index] # lists too, by their index
    last = path[-1]
    removed.add(tuple(path))
    del values[last]  # type: ignore[arg-type] # likewise
    return True


def problems_of(error: ValidationError, model: type[BaseModel]) -> list[Problem]:
    """pydantic's findings in a reader's words, with the nearest valid key where a key is unknown."""
    problems = []
    for found in error.errors(include_url=False):
        at: Location = tuple(x for x in found["loc"] if x != "[key]")
        message = found["msg"][0].lower() + found["msg"][1:]
        if found["type"] == "extra_forbidden":
            valid = _valid_keys(model, found["loc"][:-1])
            near = did_you_mean(str(at[-1]), valid)
            message = f"unknown key '{shown(at[-1])}'{near}; valid: {', '.join(sorted(valid))}"
        elif found["type"] == "missing":
            message = f"the key {at[-1]!r} is missing"
        elif found["type"] == "string_pattern_mismatch" and found["ctx"]["pattern"] == NAME:
            given = shown(repr(found["input"]), 100)
            message = (
                f"{given} is not a name: 1 to 80 letters, digits and . _ + @ -, the first a letter or digit, without --"
            )
        elif found["type"] == "value_error":
            message = message.removeprefix("value error, ")
        elif not isinstance(found["input"], dict | list):
            message += f", not {shown(repr(found['input']), 100)}"
        problems.append(Problem(at, message))
    return problems


def _valid_keys(model: type[BaseModel], loc: Iterable[str | int]) -> list[str]:
    """Keys of the model that `loc` leads to (dict keys and list indices on the way are passed over)."""
    current: Any = model
    for part in loc:
        fields = {f.alias or n: f for n, f in current.model_fields.items()}
        if part in fields:
            nested = _nested_model(fields[str(part)].annotation)
            current = nested or current
    return [f.alias or n for n, f in current.model_fields.items()]


def _nested_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        if found := _nested_model(inner):
            return found
    return None
