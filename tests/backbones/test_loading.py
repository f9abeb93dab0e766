"""Models and autoencoders from files in the official formats, made here."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from drlbench.backbones import create, load, wrap
from drlbench.backbones.autoencoders import SD_SCALE, load_sd_vae
from drlbench.backbones.base import PixelRange
from drlbench.backbones.loading import load_autoencoder
from drlbench.backbones.rae.folder import load_rae
from drlbench.backbones.sizes import default_autoencoder
from drlbench.errors import MissingPrerequisite, UserError

TINY = {"input_size": 32, "hidden_size": 16, "depth": 1, "num_heads": 4, "num_classes": 10}


@pytest.fixture(scope="module")
def vae_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small SD-VAE as diffusers saves it: three halvings, four latent channels."""
    from diffusers import AutoencoderKL

    folder = tmp_path_factory.mktemp("vae")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(8, 8, 8, 8),
            layers_per_block=1,
            norm_num_groups=4,
            latent_channels=4,
            sample_size=256,
        )
    vae.save_pretrained(folder)
    return folder


def test_sd_vae_scales_and_ranges(vae_folder: Path) -> None:
    autoencoder = load_sd_vae(vae_folder)
    images = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        latents = autoencoder.encode(images)
        posterior = autoencoder.vae.encode(images * 2 - 1).latent_dist.mean
        torch.testing.assert_close(latents, posterior * SD_SCALE)
        decoded = autoencoder.decode(latents)
        torch.testing.assert_close(decoded, (autoencoder.vae.decode(posterior).sample + 1) / 2, atol=1e-5, rtol=1e-5)
    assert latents.shape == (3, 4, 8, 8)
    assert decoded.shape == (3, 3, 64, 64)


def test_sd_vae_slices_change_neither_image_nor_gradient(vae_folder: Path) -> None:
    autoencoder = load_sd_vae(vae_folder)
    results = []
    for size in (1, 4):
        autoencoder.slice_size = size
        z = torch.randn(4, 4, 4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
        image = autoencoder.decode(z)
        (gradient,) = torch.autograd.grad(image.square().sum(), z)
        results.append((image.detach(), gradient))
    for one, whole in zip(*results, strict=True):
        scale = whole.abs().max().item()
        assert scale > 0
        torch.testing.assert_close(one, whole, atol=1e-5 * scale, rtol=0)


def test_a_whole_model_from_files(vae_folder: Path, tmp_path: Path) -> None:
    source = create("sit", **TINY)
    torch.nn.init.normal_(source.final_layer.linear.weight)
    torch.save({"ema": source.state_dict()}, tmp_path / "sit.pt")
    model = load(
        {
            "backbone": "sit",
            "architecture": TINY,
            "checkpoint": str(tmp_path / "sit.pt"),
            "autoencoder": str(vae_folder),
        }
    )
    x, t, y = torch.randn(1, 4, 32, 32), torch.tensor([0.3]), torch.tensor([3])
    with torch.no_grad():
        torch.testing.assert_close(model.velocity(x, t, y), source(x, t, y))
        assert model.decode(x).shape == (1, 3, 256, 256)


def test_rae_from_its_three_files(golden: Callable[[str], Any], tmp_path: Path) -> None:
    data = golden("rae_stage1")
    torch.save(data.weights, tmp_path / "model.pt")
    torch.save({"mean": data.io["latent_mean"], "var": data.io["latent_var"]}, tmp_path / "stat.pt")
    arguments = {
        k: data.config[k] for k in ("encoder_args", "encoder_input_size", "decoder_args", "decoder_patch_size")
    }
    files = (data.folder / "encoder.safetensors", tmp_path / "model.pt")
    autoencoder = load_rae(*files, tmp_path / "stat.pt", **arguments)
    with torch.no_grad():
        torch.testing.assert_close(autoencoder.encode(data.io["image"]), data.io["encode"], atol=5e-6, rtol=0)
    torch.save({"mean": data.io["latent_mean"]}, tmp_path / "half.pt")
    with pytest.raises(UserError, match="has no tensor 'var'; found: mean"):
        load_rae(*files, tmp_path / "half.pt", **arguments)


@pytest.mark.parametrize(
    ("size", "autoencoder"),
    [
        ("sit-xl-2", "sd-vae-ft-ema"),
        ("repa-sit-xl-2-512", "sd-vae-ft-ema"),
        ("jit-h-16", "pixels"),
        ("rae-ditdh-xl", "rae-dinov2-b-256"),
        ("rae-ditdh-xl-512", "rae-dinov2-b-512"),
        ("sit", "pixels"),
    ],
)
def test_default_autoencoder(size: str, autoencoder: str) -> None:
    assert default_autoencoder(size) == autoencoder


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "config.json").unlink(), "config.json: no such file"),
        (lambda f: (f / "config.json").write_text("{"), "cannot be loaded"),
        (lambda f: (f / "config.json").write_text('{"_class_name": "UNet"}'), "describes 'UNet', not AutoencoderKL"),
        (lambda f: (f / "diffusion_pytorch_model.safetensors").write_bytes(b"xx"), "cannot be loaded"),
        (
            lambda f: (f / "config.json").write_text(
                json.dumps({**json.loads((f / "config.json").read_text()), "layers_per_block": 2})
            ),
            "does not fit config.json: missing",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_damaged_sd_vae(vae_folder: Path, tmp_path: Path, damage: Callable[[Path], object], message: str) -> None:
    for file in vae_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    damage(tmp_path)
    with pytest.raises(UserError, match=message):
        load_sd_vae(tmp_path)


def test_what_load_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRLBENCH_CACHE", str(tmp_path))
    torch.save(create("sit", **TINY).state_dict(), tmp_path / "w.pt")
    path = str(tmp_path / "w.pt")
    with pytest.raises(UserError, match=r"num_heads cannot be read off the weights \(no official size is 16 wide\)"):
        load(path)
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(UserError, match="say which backbone the weights in"):
        load(str(tmp_path / "other.pt"))
    with pytest.raises(UserError, match="these look like the weights of 'sit'"):
        load({"backbone": "jit", "checkpoint": path})
    with pytest.raises(UserError, match=r"unknown setting 'chekpoint' \(did you mean 'checkpoint'"):
        load({"chekpoint": path})
    with pytest.raises(UserError, match=r"unknown autoencoder 'sd-vae-ft-em' \(did you mean 'sd-vae-ft-ema'"):
        load({"backbone": "sit", "architecture": TINY, "checkpoint": path, "autoencoder": "sd-vae-ft-em"})
    with pytest.raises(MissingPrerequisite, match="offline: the network was not touched"):
        load("sit-xl-2-256", offline=True)


def test_pixels_need_no_file() -> None:
    assert isinstance(load_autoencoder("pixels"), PixelRange)
    assert isinstance(wrap(create("sit", **TINY)).autoencoder, PixelRange)
