"""A fine-tuned model leaves a run, and comes back the same, bit for bit, by every door there is."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from drlbench.backbones import create, load
from drlbench.backbones.base import Backbone
from drlbench.backbones.exported import Exported, read_exported
from drlbench.cli import main as cli
from drlbench.errors import UserError
from drlbench.report.rundata import read_run
from drlbench.sampling.generate import generate
from drlbench.seeds import sample_seeds
from drlbench.stages.files import load_model
from drlbench.store.layout import Store

SUITE = """\
suite: exported
data: {{kind: digits}}
encoders:
  dae: {{kind: small-dae, seed: 3, steps: 5}}
spaces: [dae]
backbones:
  net: {backbone}
rewards:
  bold: {{kind: bradley-terry, seed: 5, count: 100, network: mlp, steps: 5}}
algorithms:
  am: {{kind: adjoint-matching, updates: 2, steps: 4, buffer: 8, batch: 8, outlier_quantile: null}}
runs:
  base: {{}}
  prl: {{reward: bold, algorithm: am, lambda: [1]}}
sampling: {{sampler: euler, steps: 3, n: 20}}
metrics: [fd]
resamples: 20
"""
SMALL = "hidden_size: 16, depth: 1, num_heads: 2"
BACKBONES = {
    "sit": f"{{family: sit, architecture: {{input_size: 8, patch_size: 2, in_channels: 1, num_classes: 10, {SMALL}}}, "
    "pretrain: {steps: 3, batch: 8}}",
    "jit": f"{{family: jit, architecture: {{input_size: 8, patch_size: 2, in_channels: 1, num_classes: 10, "
    f"bottleneck_dim: 4, in_context_len: 2, in_context_start: 0, {SMALL}}}, pretrain: {{steps: 3, batch: 8}}}}",
    "rae": "{family: rae, latent: {encoder: dae, channels: 4, width: 4, steps: 3}, architecture: {input_size: 4, "
    "in_channels: 4, hidden_size: [16, 32], depth: [1, 1], num_heads: 2, num_classes: 10}, "
    "pretrain: {steps: 3, batch: 8}}",
}
CELL = "net/prl/lambda=1/seed=0.0"


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["drlbench", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return int(stop.value.code or 0)


@pytest.mark.parametrize(
    "family", ["sit", pytest.param("jit", marks=pytest.mark.long), pytest.param("rae", marks=pytest.mark.long)]
)
def test_the_round_trip_is_exact(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("s.yaml").write_text(SUITE.format(backbone=BACKBONES[family]))
    assert call(monkeypatch, "run", "s.yaml", "--workers", "1", "--out", "run") == 0, capsys.readouterr().err
    assert call(monkeypatch, "export", "run", CELL, "--out", "model") == 0, capsys.readouterr().err

    record = next(c for c in read_run(Path("run")).record.cells if c.id == CELL)
    assert record.model is not None
    own = load_model(Store(Path(".drlbench")).folder(*record.model))
    back = load("model")
    labels, seeds = list(range(10)), sample_seeds(0, 10)
    first, second = (generate(m, labels, seeds, sampler="euler", steps=3) for m in (own, back))
    np.testing.assert_array_equal(first, second)
    assert first.std() > 0

    weights = load_file("model/model.safetensors")
    assert all(name.startswith("net.") for name in weights) == (family == "jit")
    described = read_exported("model")
    assert described is not None
    assert described.sampling.model_dump() == {"sampler": "euler", "steps": 3, "precision": "fp32"}

    text = Path("model/README.md").read_text()
    assert f"# {CELL}" in text
    assert "fine-tuned by adjoint-matching on bold, lambda 1" in text
    numbers = [r for r in read_run(Path("run")).rows if r.run == "prl"]
    assert numbers
    assert all(r.signature.replace("|", "¦") in text for r in numbers)

    pictures = []
    for arguments in (["run", CELL], ["model"]):
        out = f"{arguments[0]}.png"
        assert call(monkeypatch, "sample", *arguments, "-n", "4", "--out", out) == 0, capsys.readouterr().err
        pictures.append(Path(out).read_bytes())
    assert pictures[0] == pictures[1]

    again = f"{{family: {family}, checkpoint: model}}"
    Path("again.yaml").write_text(SUITE.format(backbone=again).replace("suite: exported", "suite: again"))
    assert call(monkeypatch, "run", "again.yaml", "--workers", "1", "--out", "again") == 0, capsys.readouterr().err
    base = next(c for c in read_run(Path("again")).record.cells if c.run == "base")
    assert base.model is not None
    third = generate(load_model(Store(Path(".drlbench")).folder(*base.model)), labels, seeds, sampler="euler", steps=3)
    np.testing.assert_array_equal(first, third)

    assert call(monkeypatch, "export", "run", CELL, "--out", "model") == 2
    assert "is not an empty folder" in capsys.readouterr().err
    assert call(monkeypatch, "export", "run", "net/prl/lambda=2/seed=0.0", "--out", "other") == 2
    assert f"did you mean '{CELL}'" in capsys.readouterr().err
    assert call(monkeypatch, "export", "run", CELL, "--out", "other", "--store", "elsewhere") == 6


def test_authors_names_are_those_of_the_golden_lists() -> None:
    net = create("jit", input_size=8, patch_size=2, hidden_size=16, depth=1, num_heads=4, num_classes=10)
    assert isinstance(net, Backbone)
    assert "net.blocks.0.attn.q_norm.weight" in net.official_state_dict()
    fresh = create("jit", input_size=8, patch_size=2, hidden_size=16, depth=1, num_heads=4, num_classes=10)
    assert isinstance(fresh, Backbone)
    fresh.load_official_state_dict(net.official_state_dict())
    torch.testing.assert_close(fresh.state_dict(), net.state_dict())


def test_another_tools_config_is_not_taken_for_ours(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "config.json").write_text('{"model_type": "dinov2"}')
    assert read_exported(tmp_path) is None
    kept = Exported(family="sit").model_dump(mode="json")
    for change, message in (({"format": "drlbench-model-9"}, "format"), ({"familly": 1}, "familly")):
        (tmp_path / "config.json").write_text(json.dumps({**kept, **change}))
        with pytest.raises(UserError, match=message):
            read_exported(tmp_path)
