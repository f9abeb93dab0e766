"""A suite file to a checked `SuiteSpec`, or every mistake in it at once, each with file:line:column."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

from drlbench.errors import UserError, did_you_mean
from drlbench.suite.check import cross_references
from drlbench.suite.schema import SuiteSpec

MAX_BYTES = 1_000_000
MAX_NODES = 100_000
PLAIN_TAGS = {f"tag:yaml.org,2002:{t}" for t in ("map", "seq", "str", "int", "float", "bool", "null")}

Location = tuple[str | int, ...]


@dataclass(frozen=True)
class Problem:
    """One mistake: where in the document, and what would be right."""

    at: Location
    message: str


@dataclass(frozen=True)
class Suite:
    """A valid suite with the text it came from.

    Attributes:
        spec: the typed content.
        text: the file as read (before `--set`).
        overrides: the `--set` assignments, in order.
        path: the file, or None for a built-in suite.
    """

    spec: SuiteSpec
    text: str
    overrides: tuple[str, ...]
    path: Path
    tree: Any

    def error(self, problems: list[Problem]) -> UserError:
        """One error naming every problem with its place in the file."""
        return _error(self.path, self.text, self.tree, problems)


def load_suite(path: Path, overrides: tuple[str, ...] = ()) -> Suite:
    """Read, parse and check a suite file.

    Args:
        path: the YAML file.
        overrides: `key.path=value` assignments; the value is read as YAML.

    Raises:
        UserError: the file is missing or is not a valid suite; the message lists every mistake.
    """
    text = _read(path)
    tree = _parse(path, text)
    for assignment in overrides:
        _assign(tree, assignment)
    plain = _plain(tree)
    try:
        spec = SuiteSpec.model_validate(plain)
    except ValidationError as error:
        raise _error(path, text, tree, problems_of(error, SuiteSpec, plain)) from None
    problems = [Problem(at, message) for at, message in cross_references(spec)]
    if problems:
        raise _error(path, text, tree, problems)
    return Suite(spec, text, overrides, path, tree)


def _read(path: Path) -> str:
    if path.is_dir():
        raise UserError(f"{path}: is a folder, not a suite file")
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path}: larger than {MAX_BYTES} bytes, which no suite is")
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        near = sorted(p.stem for p in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        raise UserError(f"{path}: no such suite file{did_you_mean(path.stem, near)}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None


def _parse(path: Path, text: str) -> CommentedMap:
    reader = YAML(typ="rt", pure=True)
    try:
        _bounded(path, reader.compose(text))
        tree = reader.load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        problem = (error.problem or error.context or "not valid YAML").strip().split("\n")[0]
        raise UserError(f"{path}{place}: {problem}{_excerpt(text, mark.line if mark else None)}") from None
    except (YAMLError, ValueError) as error:
        raise UserError(f"{path}: not valid YAML: {str(error).splitlines()[0]}") from None
    if tree is None:
        raise UserError(f"{path}: the file is empty; a suite starts with `suite: NAME`")
    if not isinstance(tree, CommentedMap):
        raise UserError(f"{path}:1:1: a suite is a mapping of keys to values, not a {type(tree).__name__}")
    return tree


def _bounded(path: Path, root: Any) -> None:
    """Refuse tags that name Python objects, and documents that aliases blow up."""
    count, stack = 0, [root] if root is not None else []
    while stack:
        node = stack.pop()
        count += 1
        if count > MAX_NODES:
            raise UserError(f"{path}: aliases expand to more than {MAX_NODES} values")
        tag = str(node.tag) if node.tag else ""
        if (tag.startswith("tag:") and tag not in PLAIN_TAGS) or tag.startswith("!"):
            mark = node.start_mark
            raise UserError(f"{path}:{mark.line + 1}:{mark.column + 1}: the tag {tag!r} is not allowed in a suite")
        if isinstance(node, MappingNode):
            stack.extend(n for pair in node.value for n in pair)
        elif isinstance(node, SequenceNode):
            stack.extend(node.value)
        elif not isinstance(node, ScalarNode):
            raise UserError(f"{path}: unexpected YAML node {type(node).__name__}")


def _plain(node: Any) -> Any:
    """Round-trip nodes to plain Python values, so that strict types mean what they say."""
    if isinstance(node, CommentedMap):
        return {str(k) if isinstance(k, str) else k: _plain(v) for k, v in node.items()}
    if isinstance(node, CommentedSeq):
        return [_plain(v) for v in node]
    if isinstance(node, bool) or node is None:
        return node
    for kind in (int, float, str):
        if isinstance(node, kind):
            return kind(node)
    if type(node).__name__ == "ScalarBoolean":
        return bool(node)
    return node


def _assign(tree: CommentedMap, assignment: str) -> None:
    name, equals, text = assignment.partition("=")
    if not equals or not name:
        raise UserError(f"--set {assignment!r}: write it as key.path=value")
    try:
        value = YAML(typ="safe", pure=True).load(text)
    except YAMLError:
        raise UserError(f"--set {assignment!r}: the value {text!r} is not valid YAML") from None
    node: Any = tree
    *parents, last = name.split(".")
    for part in parents:
        keys = list(node) if isinstance(node, dict) else []
        if isinstance(node, list) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
        elif part in keys:
            node = node[part]
        else:
            raise UserError(f"--set {assignment!r}: no key {part!r} there{did_you_mean(part, map(str, keys))}")
    if isinstance(node, dict):
        node[last] = value
    elif isinstance(node, list) and last.isdigit() and int(last) < len(node):
        node[int(last)] = value
    else:
        raise UserError(f"--set {assignment!r}: {'.'.join(parents)} is a single value and has no key {last!r}")


def problems_of(error: ValidationError, model: type[BaseModel], plain: Any, at: Location = ()) -> list[Problem]:
    """pydantic's findings in a reader's words, with the nearest valid key where a key is unknown."""
    problems = []
    for found in error.errors():
        loc: Location = at + tuple(x for x in found["loc"] if not (isinstance(x, str) and x.startswith("function-")))
        message = found["msg"][0].lower() + found["msg"][1:]
        if found["type"] == "extra_forbidden":
            valid = _valid_keys(model, found["loc"][:-1])
            message = f"unknown key {loc[-1]!r}{did_you_mean(str(loc[-1]), valid)}; valid: {', '.join(sorted(valid))}"
        elif found["type"] == "missing":
            message = f"the key {loc[-1]!r} is missing"
        elif not isinstance(found["input"], dict | list):
            message += f", not {found['input']!r}"
        problems.append(Problem(loc, message))
    return problems


def _valid_keys(model: type[BaseModel], loc: tuple[str | int, ...]) -> list[str]:
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


def _error(path: Path, text: str, tree: Any, problems: list[Problem]) -> UserError:
    lines = []
    for problem in problems:
        line, column = _place(tree, problem.at)
        where = ".".join(map(str, problem.at)) or "suite"
        lines.append(f"{path}:{line + 1}:{column + 1}: {where}: {problem.message}{_excerpt(text, line)}")
    return UserError("\n".join(lines))


def _place(tree: Any, at: Location) -> tuple[int, int]:
    """Line and column (from 0) of the deepest part of `at` that stands in the file."""
    node, place = tree, (0, 0)
    for part in at:
        try:
            if isinstance(node, CommentedMap) and part in node:
                place = node.lc.key(part)
            elif isinstance(node, CommentedSeq) and isinstance(part, int):
                place = node.lc.item(part)
            else:
                break
            node = node[part]
        except (KeyError, IndexError, TypeError, AttributeError):
            break
    return place


def _excerpt(text: str, line: int | None) -> str:
    lines = text.splitlines()
    if line is None or line >= len(lines):
        return ""
    shown = "".join(c if c.isprintable() else "?" for c in lines[line])[:100]
    return f"\n    | {shown}" if shown.strip() else ""
