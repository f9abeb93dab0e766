"""`drlbench sample` on small checkpoints made here, as a user calls it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from drlbench.backbones import create
from drlbench.cli import main as cli

WIDTH = 384  # of an official size, so that the number of heads is known


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sit = create(
            "sit", input_size=8, patch_size=4, in_channels=3, hidden_size=WIDTH, depth=1, num_heads=6, num_classes=10
        )
        jit = create("jit", input_size=16, patch_size=8, hidden_size=16, depth=1, num_heads=4, num_classes=10,
                     bottleneck_dim=4, in_context_len=2, in_context_start=0)  # fmt: skip
        for net in (sit, jit):
            torch.nn.init.normal_(net.final_layer.linear.weight, std=0.05)
    torch.save(sit.state_dict(), folder / "sit.pt")
    state = {f"net.{name}": value for name, value in jit.state_dict().items()}
    torch.save({"model": state, "model_ema1": state}, folder / "jit.pth")
    (folder / "jit.json").write_text(json.dumps({"in_context_start": 0}))
    return folder


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["drlbench", "sample", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return int(stop.value.code or 0)


def test_a_small_checkpoint_under_an_official_name(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--backbone", "sit-xl-2", "-n", "5", "--class", "7", "--cfg", "4", "--steps", "3"]
    assert call(monkeypatch, str(weights / "sit.pt"), *options, "--out", str(tmp_path / "grid.png")) == 0
    out, err = capsys.readouterr()
    assert out == f"{tmp_path}/grid.png: 5 images of 8 x 8 pixels, classes 7\n"
    assert "not the size of sit-xl-2: a sit, 384 wide, 1 deep, for inputs 8 wide" in err
    assert "sampling 5" in err
    picture = np.asarray(Image.open(tmp_path / "grid.png"))
    assert picture.shape == (2 * 8 * 16, 3 * 8 * 16, 3)
    assert (picture[-8 * 16 :, -8 * 16 :] == 0).all()  # five images in two rows of three
    assert picture.std() > 1


def test_the_same_samples_whatever_the_batch_and_the_number(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = []
    for name, options in {"a": ["-n", "4", "--batch", "4"], "b": ["-n", "4", "--batch", "1"], "c": ["-n", "2"]}.items():
        path = tmp_path / f"{name}.png"
        assert (
            call(monkeypatch, str(weights / "sit.pt"), "--class", "3", "--steps", "3", *options, "--out", str(path))
            == 0
        )
        pictures.append(np.asarray(Image.open(path)).astype(int))
    assert np.abs(pictures[0] - pictures[1]).max() <= 1
    assert np.abs(pictures[0][:128] - pictures[2]).max() <= 1


def test_a_training_checkpoint_with_what_weights_do_not_tell(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(weights / "jit.pth")
    assert call(monkeypatch, path, "--out", str(tmp_path / "x.png")) == 2
    assert "--architecture in_context_start=VALUE" in capsys.readouterr().err
    for given in ("in_context_start=0", str(weights / "jit.json")):
        options = ["--architecture", given, "--sampler", "official", "--steps", "2", "-n", "3", "--ema", "model_ema1"]
        assert call(monkeypatch, path, *options, "--out", str(tmp_path / "x.png")) == 0
        assert "classes 0, 3, 6" in capsys.readouterr().out


MISTAKES = {
    "no such file": (["gone.pt"], 6, "gone.pt: no such file"),
    "no such card": (["sit-xl-2-25"], 2, "did you mean 'sit-xl-2-256'"),
    "a card, offline": (["sit-xl-2-256", "--offline"], 6, "SiT-XL-2-256.pt, about 2.70 GB is not in the cache"),
    "no checkpoint": (["{weights}/jit.json"], 2, "neither a safetensors file nor a torch checkpoint"),
    "wrong backbone": (["{weights}/sit.pt", "--backbone", "jit-h-16"], 2, "look like the weights of 'sit'"),
    "unknown backbone": (["{weights}/sit.pt", "--backbone", "sit-xl"], 2, "unknown backbone 'sit-xl'"),
    "class out of range": (["{weights}/sit.pt", "--class", "10"], 2, "--class 10: this model's classes are 0 to 9"),
    "unknown sampler": (["{weights}/sit.pt", "--sampler", "huen"], 2, "did you mean 'heun'"),
    "an empty interval": (["{weights}/sit.pt", "--cfg", "2", "--interval", "1", "0"], 2, "interval [1.0, 0.0]"),
    "not a PNG": (["{weights}/sit.pt", "--out", "grid.jpg"], 2, "end it with .png"),
    "no such folder": (["{weights}/sit.pt", "--out", "no/such/grid.png"], 2, "there is no folder no/such"),
    "no such device": (["{weights}/sit.pt", "--device", "tpu"], 2, "valid are cpu"),
    "architecture is no word": (["{weights}/sit.pt", "--architecture", "depth"], 2, "give key=value"),
    "architecture does not fit": (["{weights}/sit.pt", "--architecture", "depth=2"], 2, "missing: blocks.1."),
    "no images": (["{weights}/sit.pt", "-n", "0"], 2, "-n"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_clear_message(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    arguments, code, hint = MISTAKES[name]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DRLBENCH_CACHE", str(tmp_path / "empty"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("TRANSFORMERS_OFFLINE", "0")
    assert call(monkeypatch, *(a.format(weights=weights) for a in arguments), "--steps", "2") == code
    out, err = capsys.readouterr()
    assert out == ""
    assert hint in " ".join(err.split())
    assert "Traceback" not in err
    assert not list(tmp_path.glob("*.png"))


def test_latents_without_an_autoencoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    net = create("sit", input_size=8, patch_size=4, hidden_size=WIDTH, depth=1, num_heads=6, num_classes=10)
    torch.save(net.state_dict(), tmp_path / "sit.pt")
    options = ["--autoencoder", "pixels", "-n", "1", "--out", str(tmp_path / "grid.png")]
    assert call(monkeypatch, str(tmp_path / "sit.pt"), *options) == 2
    assert "make latents of 4 channels, not images; give --autoencoder" in capsys.readouterr().err


def test_the_papers_sampler_and_bf16(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = {}
    for name, options in (
        ("heun", ["--steps", "50"]),
        ("paper", ["--sampler", "paper"]),
        ("bf16", ["--sampler", "paper", "--precision", "bf16"]),
    ):
        out = tmp_path / f"{name}.png"
        assert call(monkeypatch, str(weights / "sit.pt"), *options, "-n", "2", "--out", str(out)) == 0
        pictures[name] = np.asarray(Image.open(out)).astype(int)
    assert (pictures["heun"] == pictures["paper"]).all()
    assert 0 < np.abs(pictures["bf16"] - pictures["paper"]).max() < 26
    capsys.readouterr()
    assert call(monkeypatch, str(weights / "sit.pt"), "--sampler", "paper", "--steps", "20") == 2
    assert "sampler 'paper' is Heun in 50 steps; for 20 take 'heun'" in capsys.readouterr().err
