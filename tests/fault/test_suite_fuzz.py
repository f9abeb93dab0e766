"""Whatever is done to a shipped suite, `validate` and `plan` say what is wrong or plan it: never a traceback.

One mutation at a time, in one process: a key taken out, doubled or misnamed, a value of another kind or size put in its
place, a line moved, a byte changed. The same seed gives the same mutations. The short version draws a few for every
suite; the long one 5,000.
"""

from __future__ import annotations

import copy
import os
import random
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from drlbench.errors import UserError
from drlbench.plan.pipeline import lay_out
from drlbench.suite.load import load_suite
from drlbench.suite.shipped import shipped_suites

SECONDS = 1.0  # of CPU time, for one mutation
VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 1.0, 0.5, -0.5, 1e308, 10**18, 10**30, "", "x", "1e-3", "yes", "..", "-rf", "=cmd|x",
    "a\nb", "\x1b[31m", "\u202e", "x" * 5000, [], {}, [[]], [1, 1], [1, 1.0000001], {"a": 1}, ["x", "x"], [None],
    "2020-01-01", "data", [0, 0, 0], "sit", "/dev/zero", 65537, 7, 3,
]  # fmt: skip


def mutations(text: str, rng: random.Random) -> Iterator[str]:
    """Endless other versions of a suite's text."""
    tree = yaml.safe_load(text)
    while True:
        yield _of_tree(tree, rng) if rng.random() < 0.8 else _of_text(text, rng)


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    for key in list(node) if isinstance(node, dict) else range(len(node)):
        yield node, key
        if isinstance(node[key], dict | list):
            yield from _places(node[key])


def _of_tree(tree: Any, rng: random.Random) -> str:
    changed = copy.deepcopy(tree)
    places = list(_places(changed))
    node, key = rng.choice(places)
    how = rng.randrange(5)
    if how == 0:
        del node[key]
    elif how == 1 and isinstance(node, dict):
        node[rng.choice(["x", "", "a b", "\x1b[2J", str(key) + "s", str(key).upper(), "data", "x" * 300])] = node.pop(
            key
        )
    elif how == 2:
        other, name = rng.choice(places)
        node[key] = copy.deepcopy(other[name])
    elif how == 3 and isinstance(node, list):
        node.insert(key, copy.deepcopy(node[key]))
    else:
        node[key] = rng.choice(VALUES)
    return yaml.safe_dump(changed, sort_keys=False, allow_unicode=True)


def _of_text(text: str, rng: random.Random) -> str:
    lines = text.splitlines(keepends=True)
    i, j = rng.randrange(len(lines)), rng.randrange(len(text))
    how = rng.randrange(5)
    if how == 0:
        lines.insert(rng.randrange(len(lines)), lines[i])
        return "".join(lines)
    if how == 1:
        return "".join(lines[:i] + lines[i + 1 :])
    if how == 2:
        return text[:j]
    if how == 3:
        return (
            text[:j]
            + rng.choice(["&a ", "*a ", "!!x ", "\t", "{", "]", ": ", "- ", "#", "'", '"', "\x00", "|\n"])
            + text[j:]
        )
    return text[:j] + rng.choice("0123456789:-{}[],&*!|>'\"%@`\t ") + text[j + 1 :]


def tried(path: Path) -> str | None:
    """What is wrong with how a file is taken; None where it is planned, or refused in a message a terminal can show."""
    begun = time.process_time()
    try:
        try:
            lay_out(load_suite(path), absent_ok=True)
        except UserError as error:
            bad = sorted({c for c in str(error) if not c.isprintable() and c != "\n"})
            if bad:
                return f"its message holds {bad}"
            if error.exit_code not in (2, 6):
                return f"exit code {error.exit_code}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    spent = time.process_time() - begun
    return f"took {spent:.1f} s" if spent > SECONDS else None


def fuzz(count: int, seed: int, folder: Path) -> list[str]:
    """Try `count` mutations of the shipped suites in turn; what went wrong, each with how to see it again."""
    rng = random.Random(seed)
    found = []
    sources = {name: mutations(path.read_text(encoding="utf-8"), rng) for name, path in shipped_suites().items()}
    for path in shipped_suites().values():
        lay_out(load_suite(path), absent_ok=True)  # what is imported once is no mutation's time
    for number in range(count):
        name = list(sources)[number % len(sources)]
        path = folder / f"{name}-{number}.yaml"
        path.write_text(next(sources[name]), encoding="utf-8")
        told = tried(path)
        if told is not None and told.startswith("took"):
            told = tried(path)  # a machine that does much else at once charges a process for it now and then
        if told is None:
            path.unlink()
        else:
            found.append(f"{path}: {told}")
    return found


def test_a_few_mutations_of_every_suite(tmp_path: Path) -> None:
    assert not fuzz(60, 1, tmp_path)


@pytest.mark.long
def test_five_thousand_mutations(tmp_path: Path) -> None:
    assert not fuzz(5000, 2, tmp_path)


@pytest.mark.parametrize("kind", ["device", "pipe"])
def test_what_has_no_end_is_not_read(tmp_path: Path, kind: str) -> None:
    path = Path("/dev/zero")
    if kind == "pipe":
        path = tmp_path / "pipe.yaml"
        os.mkfifo(path)
    with pytest.raises(UserError, match="is a device or a pipe"):
        load_suite(path)


BOMB = "a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{n}: &{n} [{','.join(['*' + p] * 10)}]\n" for p, n in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[" * 40, ":1:33: more than 32 mappings and lists within one another"),
        ("a: " + "[" * 900, ":1:35: more than 32"),
        ("a: " + "[" * 100_000, ":1:"),  # libyaml refuses it by itself, from some version on
        (BOMB, "more than 100000 values, aliases written out"),
        ("a: &x [*x]\n", ":1:8: the alias '*x' contains itself"),
        ("a: &x 1\nb: &x 2\n", ":2:4: the anchor 'x' is defined twice"),
        ("a: *x\n", ":1:4: the alias '*x' is not defined before"),
        ("? [a, b]\n: c\n", ":1:3: a key is a name, not a list"),
        ("a: 1\n---\nb: 2\n", ":2:1: a suite is one document"),
        ('suite: "\\e[31mred"\n', ":1:8: the control character '\\x1b' is not allowed"),
        ("a: " + "9" * 10_000, "is beyond 2^63"),
        ("a: .nan\n", ":1:4: .nan is not a finite number"),
        ("#" * 1_000_001, "larger than 1000000 bytes"),
    ],
)  # fmt: skip
def test_limits_are_told_and_cost_little(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text(text, encoding="utf-8")
    tracemalloc.start()
    try:
        with pytest.raises(UserError) as caught:
            load_suite(path)
        assert tracemalloc.get_traced_memory()[1] < 100_000_000
    finally:
        tracemalloc.stop()
    assert told in str(caught.value) and f"{path}" in str(caught.value)
