"""The dependency rules of the design, read off the import statements."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "drlbench"
FILES = sorted(PACKAGE.rglob("*.py"))


@cache
def imports(path: Path) -> tuple[str, ...]:
    """Modules a file imports, wherever in the file; imports for type checking only do not count."""
    return tuple(_imports(path))


def _imports(path: Path) -> Iterator[str]:
    tree = ast.parse(path.read_text())
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{a.name}" for a in node.names)


def importers(prefix: str) -> set[str]:
    """Files that import a module or anything below it."""
    return {
        p.relative_to(PACKAGE).as_posix()
        for p in FILES
        if any(m == prefix or m.startswith(prefix + ".") for m in imports(p))
    }


def within(folder: str) -> list[Path]:
    return [p for p in FILES if p.is_relative_to(PACKAGE / folder) or p == PACKAGE / f"{folder}.py"]


@pytest.mark.parametrize("folder", ["store", "registry", "frontier", "report", "errors", "seeds"])
def test_no_torch_here(folder: str) -> None:
    modules = ["drlbench." + ".".join(p.relative_to(PACKAGE).with_suffix("").parts) for p in within(folder)]
    modules = [m.removesuffix(".__init__") for m in modules]
    code = f"import sys\nfor m in {modules!r}: __import__(m)\nsys.exit('torch' in sys.modules)"
    assert modules
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize("one", ["backbones", "rewards", "features", "metrics"])
def test_siblings_do_not_know_each_other(one: str) -> None:
    for path in within(one):
        for other in {"backbones", "rewards", "features", "metrics"} - {one}:
            # A measurement's record type is the common language of everything that measures.
            found = [
                m
                for m in imports(path)
                if m.startswith(f"drlbench.{other}") and not m.startswith("drlbench.metrics.base")
            ]
            assert not found, f"{path.name} imports {found}"


@pytest.mark.parametrize("folder", ["finetune", "sampling"])
def test_training_and_sampling_know_only_protocols(folder: str) -> None:
    for path in within(folder):
        for module in imports(path):
            if module.startswith(("drlbench.backbones", "drlbench.rewards", "drlbench.features", "drlbench.metrics")):
                assert module.startswith(("drlbench.backbones.base", "drlbench.rewards.base")), f"{path.name}: {module}"


def test_only_the_pipeline_joins_the_stages_and_only_the_cli_imports_it() -> None:
    assert importers("drlbench.plan.pipeline") <= {"cli/run.py", "cli/suite.py"}
    assert importers("drlbench.cli.main") <= {"__main__.py"}


@pytest.mark.parametrize(
    "package", ["cleanfid", "open_clip", "torch_fidelity", "torchdiffeq", "moocore", "sklearn", "yaml"]
)
def test_a_fragile_package_is_imported_in_one_file(package: str) -> None:
    assert len(importers(package)) <= 1, importers(package)


def test_diffusers_is_imported_for_an_autoencoder_and_for_a_teacher_only() -> None:
    assert importers("diffusers") == {"backbones/autoencoders.py", "teachers/stable_diffusion.py"}


def test_ray_is_known_to_its_executor_only() -> None:
    assert importers("ray") == {"run/executors/ray.py", "run/executors/ray_worker.py"}


def test_nothing_is_unpickled() -> None:
    for path in FILES:
        modules = set(imports(path))
        assert not modules & {"dill", "joblib", "pickle.load", "pickle.loads", "pickle.Unpickler"}, path
        text = path.read_text()
        assert not re.search(r"weights_only\s*=\s*False|allow_pickle\s*=\s*True|trust_remote_code\s*=\s*True", text), (
            path
        )
        if re.search(r"(?<!safetensors\.)torch\.load\(", text):
            assert "weights_only=True" in text, path


def test_files_are_one_noun_long() -> None:
    long = {p.relative_to(ROOT).as_posix(): n for p in FILES if (n := len(p.read_text().splitlines())) > 300}
    assert not long


def test_help_is_light() -> None:
    code = (
        "import sys; sys.argv = ['drlbench', '--help']\n"
        "from drlbench.cli.main import app\n"
        "try: app(standalone_mode=False)\n"
        "except SystemExit: pass\n"
        "sys.exit(any(m in sys.modules for m in ('torch', 'numpy', 'pandas', 'matplotlib', 'rich.markdown')))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "validate" in done.stdout


def test_no_two_test_files_share_a_name() -> None:
    """pytest imports them by their bare names."""
    names = [p.name for p in (ROOT / "tests").rglob("*.py") if p.name not in ("conftest.py", "__init__.py")]
    assert sorted(names) == sorted(set(names))
