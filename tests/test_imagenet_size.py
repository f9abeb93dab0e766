"""The whole road at 256 pixels on a CPU: official-format checkpoints with small random weights, generated images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from drlbench.backbones import create
from drlbench.cli import lay_out
from drlbench.data import sources
from drlbench.report.results import read_results
from drlbench.run import Options, perform
from drlbench.store.layout import Store
from drlbench.suite.load import load_suite

SMALL = {"hidden_size": 16, "depth": 1, "num_heads": 4}
CLASSES = 20

SUITE = """
suite: imagenet-size
data: {kind: folder, path: images, size: 256}
encoders:
  dae: {kind: small-dae, steps: 2, width: 4, features: 8, batch: 8}
spaces: [dae]
backbones:
  jit: {family: jit, architecture: {in_context_start: 0}, checkpoint: jit.pth}
  sit: {family: sit, architecture: {num_heads: 4}, checkpoint: sit.pt, autoencoder: vae}
rewards:
  drl: {kind: discriminator, encoders: [dae], fakes: 40, fake_steps: 2, steps: 4, batch: 8, r1: 1.0e-5, width: 8,
        buffer_batches: 2, validate_every: 2}
algorithms:
  am: {kind: adjoint-matching, updates: 1, steps: 4, buffer: 4, batch: 4, passes: 1, learning_rate: 1.0e-4, warmup: 0}
runs:
  base: {}
  drl: {reward: drl, algorithm: am, lambda: [1]}
sampling: {sampler: heun, steps: 2, n: 24}
metrics: [fd, stats]
resamples: 20
grid: {classes: 4, columns: 1}
"""


def write_images(root: Path) -> None:
    """Two train images and one held-out image of every class, of several sizes, as JPEG."""
    generator = np.random.default_rng(0)
    for k in range(CLASSES):
        for split, count in (("train", 2), ("val", 1)):
            folder = root / split / f"n{k:08d}"
            folder.mkdir(parents=True)
            for i in range(count):
                coarse = generator.integers(0, 256, (5, 5 + k % 3, 3), dtype=np.uint8)
                size = (280 + 10 * (k % 4), 270 + 300 * (k % 2))
                Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(folder / f"{i}.jpg", quality=85)


def write_checkpoints(root: Path) -> None:
    from diffusers import AutoencoderKL

    with torch.random.fork_rng():
        torch.manual_seed(0)
        jit, sit = (
            create("jit", **SMALL, num_classes=CLASSES, bottleneck_dim=4, in_context_start=0),
            create("sit", **SMALL, num_classes=CLASSES),
        )
        for net in (jit, sit):
            torch.nn.init.normal_(net.final_layer.linear.weight, std=0.05)  # type: ignore[union-attr, arg-type]
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(4, 4, 4, 4),
            layers_per_block=1,
            norm_num_groups=2,
            latent_channels=4,
        )
    state = {f"net.{name}": value for name, value in jit.state_dict().items()}
    torch.save({"model": state, "model_ema1": state, "model_ema2": state}, root / "jit.pth")
    torch.save({"ema": sit.state_dict()}, root / "sit.pt")
    vae.save_pretrained(root / "vae")


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
def test_from_checkpoints_to_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "images")
    write_checkpoints(tmp_path)
    Path("suite.yaml").write_text(SUITE)
    suite = load_suite(Path("suite.yaml"))
    sources._load.cache_clear()
    record = perform(suite, lay_out(suite, "*"), Store(Path("store")), Path("run"), Options(1, "cpu", "test", False))
    assert record["status"] == "complete"
    rows = read_results(Path("run") / "results.csv")
    assert {(r.backbone, r.run) for r in rows} == {
        ("", "data"),
        *[(b, r) for b in ("jit", "sit") for r in ("base", "drl")],
    }
    assert all(np.isfinite(r.value) for r in rows)
    weights = {p.stat().st_size for p in Path("store/base").rglob("*.safetensors")}
    assert weights == set()  # a base from a checkpoint is a reference
    kept = [json.loads(p.read_text()) for p in Path("store/finetune").rglob("config.json")]
    assert {c["family"] for c in kept} == {"jit", "sit"}
    with np.load(next(Path("store/samples").rglob("samples.npz")), allow_pickle=False) as data:
        assert data["images"].shape[1:] == (256, 256, 3)
