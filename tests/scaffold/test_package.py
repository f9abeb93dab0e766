"""`drlbench new`: what it writes is the documented example, installs as it is and runs; what it refuses, it says."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from drlbench.errors import UserError
from drlbench.scaffold.package import KINDS, new_package, rendered
from drlbench.suite.load import load_suite

SOURCE = Path(__file__).resolve().parents[1] / "plugin_package" / "src" / "drlbench_dummy" / "__init__.py"
EXAMPLES = {
    "metric": ("dummy-ink", "MeanInk"),
    "reward": ("dummy-reward", "Brightness"),
    "encoder": ("dummy-encoder", "Halves"),
    "algorithm": ("dummy-algorithm", "ShrinkTowardsReference"),
    "backbone": ("dummy-backbone", "Linear"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_template_is_the_documented_example(kind: str) -> None:
    name, cls = EXAMPLES[kind]
    text = rendered(f"{kind}.py.j2", {"kind": kind, "name": name, "module": "m", "class_name": cls})
    assert text[text.index(f"class {cls}(") :].strip() in SOURCE.read_text()


def installed(folder: Path, site: Path) -> dict[str, str]:
    """The package as an installer leaves it: its module, and metadata that carries the entry point."""
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    ((group, names),) = project["entry-points"].items()
    (info / "entry_points.txt").write_text(f"[{group}]\n" + "".join(f"{n} = {t}\n" for n, t in names.items()))
    (module,) = (folder / "src").iterdir()
    (site / module.name).symlink_to(module)
    return {**os.environ, "PYTHONPATH": str(site)}


def drlbench(environment: dict[str, str], folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "drlbench", *arguments]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("kind", ["reward", *(pytest.param(k, marks=pytest.mark.long) for k in KINDS if k != "reward")])
def test_what_it_writes_runs(kind: str, tmp_path: Path) -> None:
    written = drlbench(dict(os.environ), tmp_path, "new", kind, "my-own")
    assert written.returncode == 0, written.stderr
    folder = tmp_path / "drlbench-my-own"
    assert "next: pip install --editable drlbench-my-own" in written.stdout
    done = drlbench(installed(folder, tmp_path / "site"), folder, "run", "suite.yaml", "--workers", "1")
    assert done.returncode == 0, done.stderr
    rows = (folder / "reports" / "my-own" / "results.csv").read_text()
    assert ",base+prl,mine," in rows
    assert kind != "metric" or ",my-own," in rows


def test_every_suite_is_well_formed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind, registry in KINDS.items():
        new_package(kind, "my-own", tmp_path / kind)
        with monkeypatch.context() as there:
            there.syspath_prepend(str(tmp_path / kind / "src"))
            there.setitem(registry.builtin, "my-own", "drlbench_my_own:MyOwn")
            assert load_suite(tmp_path / kind / "suite.yaml").spec.suite == "my-own"
        sys.modules.pop("drlbench_my_own", None)


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [
        ("rewards", "mine", "unknown kind 'rewards' (did you mean 'reward'?)"),
        ("reward", "My Reward", "'My Reward' is not a name"),
        ("reward", "../mine", "'../mine' is not a name"),
        ("metric", "fd", "metric 'fd' exists already"),
    ],
)
def test_what_it_refuses(kind: str, name: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        new_package(kind, name, tmp_path / "out")
    assert said in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "kept.txt").write_text("mine")
    with pytest.raises(UserError, match="is not an empty folder"):
        new_package("reward", "mine", tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["kept.txt"]
