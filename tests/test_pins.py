"""constraints.txt goes with every extra of pyproject.toml, as far as what is installed here can tell."""

from __future__ import annotations

import tomllib
from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
UNPINNED = ("bench",)  # peers, which nothing of drlbench's rests on


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    named = (line.split("==") for line in lines if "==" in line)
    return {canonicalize_name(name): version for name, version in named}


def refused(requirement: Requirement, by: str, pinned: dict[str, str]) -> list[str]:
    version = pinned.get(canonicalize_name(requirement.name))
    if version is None or requirement.specifier.contains(version, prereleases=True):
        return []
    return [f"{by} wants {requirement}, constraints.txt has {version}"]


def test_every_extra_is_pinned_within_its_bounds() -> None:
    pinned = pins()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {"drlbench": project["dependencies"], **project["optional-dependencies"]}
    wrong = []
    for extra, wanted in extras.items():
        for requirement in map(Requirement, wanted):
            wrong += refused(requirement, extra, pinned)
            if extra not in UNPINNED and canonicalize_name(requirement.name) not in pinned:
                wrong.append(f"{extra}: {requirement} has no pin; `make constraints`")
    assert wrong == []


def test_pinned_packages_go_together() -> None:
    pinned, wrong, looked = pins(), [], 0
    for one in distributions():
        if pinned.get(canonicalize_name(one.metadata["Name"])) != one.version:
            continue  # another version may want other things
        looked += 1
        for text in one.requires or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                wrong += refused(requirement, f"{one.metadata['Name']} {one.version}", pinned)
    assert wrong == []
    if not looked:
        pytest.skip("nothing here is of a pinned version")
