"""A third-party package is found through its entry points, can be used in a suite, and is what the docs show."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "tests" / "plugin_package"

SUITE = """\
suite: plugged
data: {kind: digits}
encoders:
  halves: {kind: dummy-encoder}
spaces: [halves]
backbones:
  line:
    family: dummy-backbone
    architecture: {in_channels: 1, input_size: 8, num_classes: 10}
    pretrain: {steps: 20, batch: 16}
  theirs: {family: dummy-backbone, checkpoint: weights.pt}
rewards:
  light: {kind: dummy-reward, gain: 2.0}
algorithms:
  shrink: {kind: dummy-algorithm, updates: 2}
runs:
  base: {}
  prl: {reward: light, algorithm: shrink, lambda: [1]}
sampling: {sampler: official, steps: 2, n: 20}
metrics: [fd, dummy-ink]
preferences: [light]
stages:
  edges: {kind: dummy-stage, reach: 2}
  fine: {kind: dummy-stage}
resamples: 20
"""


@pytest.fixture
def installed(tmp_path: Path) -> dict[str, str]:
    """The package as an installer leaves it: its modules, and metadata that carries the entry points."""
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]
    info = tmp_path / "site" / "drlbench_dummy-0.0.1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    groups = [
        f"[{g}]\n" + "".join(f"{n} = {t}\n" for n, t in names.items()) for g, names in project["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("\n".join(groups))
    (tmp_path / "site" / "drlbench_dummy").symlink_to(PACKAGE / "src" / "drlbench_dummy")
    return {**os.environ, "PYTHONPATH": f"{tmp_path / 'site'}{os.pathsep}{ROOT}"}


def drlbench(environment: dict[str, str], folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "drlbench", *arguments]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)


def test_a_suite_can_use_one_of_each(installed: dict[str, str], tmp_path: Path) -> None:
    assert "dummy-ink" in drlbench(installed, tmp_path, "list", "metrics").stdout
    (tmp_path / "plugged.yaml").write_text(SUITE)
    average = {"offset.weight": torch.ones(11, 64), "matrix.weight": torch.zeros(64, 64), "matrix.bias": torch.ones(64)}
    raw = {name: 0 * value for name, value in average.items()}
    torch.save({"model": raw, "ema": {f"module.{n}": v for n, v in average.items()}}, tmp_path / "weights.pt")
    plan = json.loads(drlbench(installed, tmp_path, "plan", "plugged.yaml", "--json").stdout)
    own = next(kind for kind in plan["kinds"] if kind["kind"] == "dummy-stage")
    # Four cells and the held-out images, under two settings.
    assert own["stages"] == 10 and own["basis"] == "counted" and own["seconds"] > 0
    done = drlbench(installed, tmp_path, "run", "plugged.yaml", "--workers", "1")
    assert done.returncode == 0, done.stderr
    run = json.loads((tmp_path / "reports" / "plugged" / "run.json").read_text())
    assert any("took ema, an average" in line for line in run["warnings"])
    # v = 2 everywhere, so that every image of its authors' procedure is noise + 2, which the clamp makes nearly white.
    ink = [r.split(",") for r in (tmp_path / "reports" / "plugged" / "results.csv").read_text().splitlines()]
    row = next(r for r in ink if r[1:3] == ["theirs", "base"] and "dummy-ink" in r)
    assert float(row[row.index("dummy-ink") + 1]) > 0.9
    listed = {kind: drlbench(installed, tmp_path, "list", kind).stdout for kind in ("sizes", "checkpoints")}
    assert "dummy-backbone: dummy-backbone-s" in listed["sizes"]
    assert "dummy-backbone-s-digits: dummy-backbone-s, autoencoder pixels" in listed["checkpoints"]
    assert "fid 31.4" in listed["checkpoints"]
    picture = drlbench(installed, tmp_path, "sample", "weights.pt", "--sampler", "official", "-n", "4")
    assert picture.returncode == 0, picture.stderr
    assert "took ema" in picture.stderr
    rows = (tmp_path / "reports" / "plugged" / "results.csv").read_text()
    assert ",dummy-ink," in rows
    assert ",light," in rows
    edges = [r for r in ink if r[1:3] == ["theirs", "base"] and {"edges", "fine"} & {*r}]
    signature = ink[0].index("signature")
    assert len(edges) == 2 and len({r[signature] for r in edges}) == 2, "another setting is another signature"
    assert all("code:dummy-stage.1" in r[signature] for r in edges)
    assert ",halves,fd," in rows


def test_a_taken_name_names_both_owners(installed: dict[str, str], tmp_path: Path) -> None:
    points = tmp_path / "site" / "drlbench_dummy-0.0.1.dist-info" / "entry_points.txt"
    points.write_text("[drlbench.metrics]\nfd = drlbench_dummy:MeanInk\n")
    done = drlbench(installed, tmp_path, "list", "metrics")
    assert done.returncode == 2
    assert "'fd' of drlbench-dummy is already a name of drlbench itself" in done.stderr


def test_a_plugin_that_does_not_import_is_named(installed: dict[str, str], tmp_path: Path) -> None:
    points = tmp_path / "site" / "drlbench_dummy-0.0.1.dist-info" / "entry_points.txt"
    points.write_text(points.read_text().replace("drlbench_dummy:MeanInk", "drlbench_dummy:Gone"))
    (tmp_path / "plugged.yaml").write_text(SUITE)
    done = drlbench(installed, tmp_path, "plan", "plugged.yaml")
    assert done.returncode == 2
    assert "plug-in metric 'dummy-ink' (drlbench_dummy:Gone) does not load" in done.stderr


def test_a_stage_of_ours_is_no_third_partys(installed: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "plugged.yaml").write_text(SUITE.replace("kind: dummy-stage, reach: 2", "kind: scores"))
    done = drlbench(installed, tmp_path, "validate", "plugged.yaml")
    assert done.returncode == 2
    assert "plugged.yaml:23:11:" in done.stderr and "scores is a stage of drlbench's own" in done.stderr
    (tmp_path / "plugged.yaml").write_text(SUITE.replace("reach: 2", "reech: 2"))
    assert "did you mean 'reach'" in drlbench(installed, tmp_path, "validate", "plugged.yaml").stderr


def test_the_page_on_extending_shows_the_package() -> None:
    page = (ROOT / "docs" / "extending.md").read_text()
    source = (PACKAGE / "src" / "drlbench_dummy" / "__init__.py").read_text()
    blocks = re.findall(r"```python\n(.*?)\n```", page, re.DOTALL)
    assert len(blocks) == 6
    for block in blocks:
        assert block in source
