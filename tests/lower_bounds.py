"""The lower bounds of pyproject.toml as pip constraints, for `make test-lowest`: each package at exactly its bound."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement

PROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"


def lower_bounds(extras: tuple[str, ...] = ("test",)) -> Iterator[str]:
    """`name==bound` for every requirement with a `>=`, in the order of the file.

    Raises:
        ValueError: a requirement has no lower bound, so nobody knows what was tested.
    """
    project = tomllib.loads(PROJECT.read_text())["project"]
    wanted = [*project["dependencies"], *(r for extra in extras for r in project["optional-dependencies"][extra])]
    for requirement in map(Requirement, wanted):
        bounds = [s.version for s in requirement.specifier if s.operator == ">="]
        if not bounds:
            raise ValueError(f"{PROJECT.name}: {requirement} has no lower bound")
        yield f"{requirement.name}=={bounds[0]}"


if __name__ == "__main__":
    print("\n".join(lower_bounds()))
