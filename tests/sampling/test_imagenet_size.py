"""The whole road at 256 pixels on a CPU: official-format checkpoints with small random weights, generated images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from drlbench.backbones import create
from drlbench.data import sources
from drlbench.plan.pipeline import lay_out
from drlbench.report.results import read_results
from drlbench.run.perform import Options, perform
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
  repa: {family: repa, architecture: {num_heads: 4}, checkpoint: repa.pt, autoencoder: vae}
  rae: {family: rae, architecture: {depth: [1, 1]}, checkpoint: rae.pt, autoencoder: rae-autoencoder}
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
        jit, sit, repa, rae = (
            create("jit", **SMALL, num_classes=CLASSES, bottleneck_dim=4, in_context_start=0),
            create("sit", **SMALL, num_classes=CLASSES),
            create("repa", **SMALL, num_classes=CLASSES, encoder_depth=1, z_dims=[8], projector_dim=8),
            create("rae", in_channels=16, hidden_size=[16, 24], depth=[1, 1], num_heads=[2, 2], num_classes=CLASSES),
        )
        for net in (jit, sit, repa, rae):
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
    write_rae_autoencoder(root / "rae-autoencoder")
    torch.save(repa.state_dict(), root / "repa.pt")
    torch.save(rae.state_dict(), root / "rae.pt")
    vae.save_pretrained(root / "vae")


def write_rae_autoencoder(root: Path) -> None:
    """An encoder as transformers saves it, a decoder and statistics under the authors' names: 16 x 16 tokens."""
    from transformers import Dinov2WithRegistersConfig, Dinov2WithRegistersModel

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "patch_size": 14, "image_size": 56}
    decoder = {
        "decoder_hidden_size": 16,
        "decoder_intermediate_size": 16,
        "decoder_num_attention_heads": 2,
        "decoder_num_hidden_layers": 1,
    }
    Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**sizes)).save_pretrained(root / "encoder")
    autoencoder: Any = create("rae-autoencoder", encoder_args=sizes, decoder_args=decoder)
    (root / "decoder").mkdir()
    torch.save(autoencoder.decoder.state_dict(), root / "decoder" / "model.pt")
    (root / "decoder" / "config.json").write_text(json.dumps(decoder))
    torch.save({"mean": torch.zeros(16, 16, 16), "var": torch.ones(16, 16, 16)}, root / "stat.pt")


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
def test_from_checkpoints_to_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "images")
    write_checkpoints(tmp_path)
    Path("suite.yaml").write_text(SUITE)
    suite = load_suite(Path("suite.yaml"))
    sources._load.cache_clear()
    options = Options(1, "cpu", "test")
    record = perform(suite, lay_out(suite, "*"), Store(Path("store")), Path("run"), options).record
    assert record["status"] == "complete"
    rows = read_results(Path("run") / "results.csv")
    assert {(r.backbone, r.run) for r in rows} == {
        ("", "data"),
        *[(b, r) for b in ("jit", "sit", "repa", "rae") for r in ("base", "drl")],
    }
    assert all(np.isfinite(r.value) for r in rows)
    weights = {p.stat().st_size for p in Path("store/base").rglob("*.safetensors")}
    assert weights == set()  # a base from a checkpoint is a reference
    kept = [json.loads(p.read_text()) for p in Path("store/finetune").rglob("config.json")]
    assert {c["family"] for c in kept} == {"jit", "sit", "repa", "rae"}
    with np.load(next(Path("store/samples").rglob("samples.npz")), allow_pickle=False) as data:
        assert data["images"].shape[1:] == (256, 256, 3)
