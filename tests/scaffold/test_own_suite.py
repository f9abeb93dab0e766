"""A suite from images of one's own can be planned as it is written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from drlbench import create
from drlbench.errors import UserError
from drlbench.plan.pipeline import lay_out
from drlbench.scaffold.suite import new_suite
from drlbench.suite.load import load_suite


def pictures(folder: Path, sides: tuple[int, ...]) -> Path:
    rng = np.random.default_rng(0)
    for name in ("cat", "dog", "owl"):
        (folder / name).mkdir(parents=True)
        for i in range(10):
            side = sides[i % len(sides)]
            Image.fromarray(rng.integers(0, 255, (side, side, 3), dtype=np.uint8)).save(folder / name / f"{i}.png")
    return folder


@pytest.mark.parametrize(("sides", "size"), [((12,), None), ((70, 80), 64)])
def test_a_folder_of_pictures(tmp_path: Path, sides: tuple[int, ...], size: int | None) -> None:
    out = tmp_path / "suite.yaml"
    told = new_suite(str(pictures(tmp_path / "my pictures", sides)), None, out)
    suite = load_suite(out)
    assert "24 train and 6 held-out images" in told and "3 classes" in told
    assert suite.spec.suite == "my-pictures" and suite.spec.data.settings.get("size") == size
    assert suite.networks["sit"].latent_shape == (3, size or 12, size or 12)
    assert {n.kind for n in lay_out(suite).nodes.values()} >= {"base", "reward", "finetune", "scores", "kl"}
    with pytest.raises(UserError, match="is there already"):
        new_suite(str(tmp_path), None, out)


def test_an_npz(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (60, 16, 16, 1), dtype=np.uint8)
    np.savez(tmp_path / "x.npz", images=images, labels=np.arange(60) % 5)
    new_suite(str(tmp_path / "x.npz"), None, tmp_path / "suite.yaml")
    assert load_suite(tmp_path / "suite.yaml").images.num_classes == 5


def test_weights_of_ones_own(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = create("sit", input_size=12, in_channels=3, hidden_size=384, depth=1, num_heads=6, num_classes=3)
    save_file(net.state_dict(), tmp_path / "w.safetensors")
    data = str(pictures(tmp_path / "pics", (20,)))
    told = new_suite(data, str(tmp_path / "w.safetensors"), tmp_path / "suite.yaml")
    spec = load_suite(tmp_path / "suite.yaml").spec
    assert "3x12x12" in told and spec.data.settings["size"] == 12 and spec.backbones["sit"].checkpoint
    with pytest.raises(UserError, match=r"has 1000 classes, and .* has 3"):
        new_suite(data, "jit-h-16", tmp_path / "other.yaml")


def test_what_is_no_data_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("x")
    with pytest.raises(UserError, match="neither a folder nor one of"):
        new_suite(str(tmp_path / "x.txt"), None, tmp_path / "suite.yaml")
    with pytest.raises(UserError, match="nothing lies there"):
        new_suite(str(tmp_path / "none"), None, tmp_path / "suite.yaml")
