"""What `drlbench` itself offers: lazily, documented, typed, and the same to readers, type checkers and Python."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import drlbench

FILE = Path(drlbench.__file__)


def for_type_checkers() -> dict[str, str]:
    """Names imported under TYPE_CHECKING, and from where."""
    blocks = [n for n in ast.parse(FILE.read_text()).body if isinstance(n, ast.If)]
    imports = [i for block in blocks for i in block.body if isinstance(i, ast.ImportFrom)]
    return {a.asname or a.name: str(i.module) for i in imports for a in i.names if a.name != "Any"}


def test_the_table_the_public_names_and_the_type_checkers_imports_agree() -> None:
    assert set(drlbench.__all__) == set(drlbench.DOORS)
    assert for_type_checkers() == drlbench.DOORS
    assert set(drlbench.DOORS) <= set(dir(drlbench))
    assert FILE.with_name("py.typed").is_file()


@pytest.mark.parametrize("name", sorted(drlbench.DOORS))
def test_a_door_is_documented_and_typed(name: str) -> None:
    door = getattr(drlbench, name)
    assert (inspect.getdoc(door) or "").strip()
    for parameter in inspect.signature(door).parameters.values():
        assert parameter.annotation is not parameter.empty, f"{name}: {parameter.name} has no type"
    if not inspect.isclass(door):
        assert inspect.signature(door).return_annotation is not inspect.Signature.empty


def test_importing_the_package_brings_no_torch() -> None:
    code = "import sys, drlbench; dir(drlbench); sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_another_name_is_refused_with_the_public_ones() -> None:
    with pytest.raises(AttributeError, match=r"public: .*create"):
        drlbench.make_everything  # noqa: B018 - looking it up is the point
