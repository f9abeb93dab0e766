"""docs/suite.md, the editors' schema and the shipped suites' first lines say what the code says."""

from __future__ import annotations

from pathlib import Path

import pytest

from drlbench.suite.handbook import handbook, schema_text, suite_schema
from drlbench.suite.shipped import described_suites, shipped_suites

ROOT = Path(__file__).resolve().parents[2]


def test_the_pages_are_current() -> None:
    assert (ROOT / "docs" / "suite.md").read_text(encoding="utf-8") == handbook(), "drlbench schema suite --markdown"
    assert (ROOT / "suites" / "suite.schema.json").read_text(encoding="utf-8") == schema_text(), "drlbench schema suite"


def test_every_key_says_what_it_is() -> None:
    schema = suite_schema()
    for part in (schema, *schema["$defs"].values()):
        for name, key in part["properties"].items():
            assert key.get("description") and key.get("examples"), name
            assert "default" in key or name in part["required"], name


def test_every_part_of_a_suite_has_its_section() -> None:
    page = handbook()
    for name, part in suite_schema()["$defs"].items():
        for key in part["properties"]:
            assert f"| `{key}` |" in page, name
        assert " ".join(part["description"].split()) in page, f"{name} is not in docs/suite.md"


@pytest.mark.parametrize("name", shipped_suites())
def test_editors_find_the_schema(name: str) -> None:
    path = shipped_suites()[name]
    head, _, place = path.read_text(encoding="utf-8").splitlines()[0].partition("$schema=")
    assert (
        head == "# yaml-language-server: " and (path.parent / place).resolve() == ROOT / "suites" / "suite.schema.json"
    )
    assert described_suites()[name]
