"""A document to a typed suite, with every mistake that types and names can show.

One mistake must not hide the others: what does not fit is taken out, and the rest is looked at as well.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ValidationError

from drlbench.errors import did_you_mean, shown
from drlbench.suite.document import Document, Location, Problem
from drlbench.suite.keys import NAME
from drlbench.suite.references import cross_references
from drlbench.suite.schema import SuiteSpec

ATTEMPTS = 8  # taking out one mistake may show another around it


def read_spec(document: Document) -> tuple[SuiteSpec | None, list[Problem]]:
    """The typed content and what is wrong with it; None where too little is left to go on with."""
    values = document.values
    problems: list[Problem] = []
    removed: set[Location] = set()
    for _ in range(ATTEMPTS):
        try:
            spec = SuiteSpec.model_validate(values)
        except ValidationError as error:
            found = problems_of(error, SuiteSpec)
            new = [p for p in found if p.at not in removed]  # what was taken out is now missing, where it must be there
            problems += new
            values = copy.deepcopy(values)
            if not all([_take_out(values, problem.at, removed) for problem in found]):
                return None, problems
            continue
        names = {repr(at[-1]) for at in removed}
        known = [Problem(at, text) for at, text in cross_references(spec) if not any(n in text for n in names)]
        return spec, problems + known
    return None, problems


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
