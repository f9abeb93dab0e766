"""RAE stage 1 from a local folder: the golden autoencoder, put into files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from drlbench.backbones import origin
from drlbench.backbones.folders import folder_files, kind_of
from drlbench.backbones.loading import load_autoencoder
from drlbench.errors import MissingPrerequisite, UserError


@pytest.fixture
def folder(golden: Callable[[str], Any], tmp_path: Path) -> Path:
    data, place = golden("rae_stage1"), tmp_path / "rae"
    for part in ("encoder", "decoder"):
        (place / part).mkdir(parents=True)
    config = {**data.config["encoder_args"], "model_type": "dinov2_with_registers"}
    (place / "encoder" / "config.json").write_text(json.dumps(config))
    shutil.copy(data.folder / "encoder.safetensors", place / "encoder" / "model.safetensors")
    torch.save(data.weights, place / "decoder" / "model.pt")
    (place / "decoder" / "config.json").write_text('{"decoder_num_attention_heads": 4}')
    torch.save({"mean": data.io["latent_mean"], "var": data.io["latent_var"]}, place / "stat.pt")
    return place


@torch.no_grad()
def test_the_folder_gives_the_official_numbers(golden: Callable[[str], Any], folder: Path) -> None:
    io = golden("rae_stage1").io
    autoencoder = load_autoencoder(str(folder))
    torch.testing.assert_close(autoencoder.encode(io["image"]), io["encode"], atol=5e-6, rtol=0)
    torch.testing.assert_close(autoencoder.decode(io["z"]), io["decode"], atol=5e-6, rtol=0)


@torch.no_grad()
def test_safetensors_and_other_colours_are_taken(golden: Callable[[str], Any], folder: Path) -> None:
    data = golden("rae_stage1")
    (folder / "decoder" / "model.pt").unlink()
    save_file(data.weights, folder / "decoder" / "model.safetensors")
    (folder / "stat.pt").unlink()
    save_file({"mean": data.io["latent_mean"], "var": data.io["latent_var"]}, folder / "stat.safetensors")
    whole = load_autoencoder(str(folder)).decode(data.io["z"])
    torch.testing.assert_close(whole, data.io["decode"], atol=5e-6, rtol=0)
    (folder / "encoder" / "preprocessor_config.json").write_text('{"image_mean": [0, 0, 0], "image_std": [1, 1, 1]}')
    mean, std = (torch.tensor(data.config[k]).view(3, 1, 1) for k in ("image_mean", "image_std"))
    plain = load_autoencoder(str(folder)).decode(data.io["z"])
    torch.testing.assert_close(plain, (whole - mean) / std, atol=2e-5, rtol=0)


def test_its_identity_is_its_content(folder: Path) -> None:
    assert kind_of(folder) == "rae"
    first = origin.hashes(folder_files(folder))
    assert set(first) == {"config", "encoder", "decoder", "statistics", "decoder_config"}
    with (folder / "stat.pt").open("ab") as file:
        file.write(b" ")
    second = origin.hashes(folder_files(folder))
    assert [role for role in first if first[role] != second[role]] == ["statistics"]


def test_what_is_missing_or_wrong_is_named(golden: Callable[[str], Any], folder: Path) -> None:
    (folder / "decoder" / "config.json").unlink()
    with pytest.raises(UserError, match=r"decoder/model\.pt: no released decoder is 48 wide, so the number of heads"):
        load_autoencoder(str(folder))
    (folder / "decoder" / "config.json").write_text("[]")
    with pytest.raises(UserError, match=r"decoder/config\.json: holds a list, not an object"):
        load_autoencoder(str(folder))
    (folder / "decoder" / "config.json").write_text('{"decoder_num_attention_heads": 4}')
    weights = dict(golden("rae_stage1").weights)
    weights.pop("decoder_norm.bias")
    torch.save(weights, folder / "decoder" / "model.pt")
    with pytest.raises(UserError, match=r"decoder/model\.pt: state dict does not fit .*1 missing: decoder_norm\.bias"):
        load_autoencoder(str(folder))
    weights.pop("decoder_pos_embed")
    torch.save(weights, folder / "decoder" / "model.pt")
    with pytest.raises(UserError, match=r"decoder/model\.pt: .*1 missing: decoder_pos_embed"):
        load_autoencoder(str(folder))
    (folder / "stat.pt").unlink()
    with pytest.raises(MissingPrerequisite, match=r"stat\.pt: no such file; an RAE folder holds encoder"):
        load_autoencoder(str(folder))
    torch.save({"mean": torch.zeros(3, 4, 4), "var": torch.ones(32, 4, 4)}, folder / "stat.pt")
    torch.save(golden("rae_stage1").weights, folder / "decoder" / "model.pt")
    with pytest.raises(UserError, match=r"stat\.pt: rae-autoencoder: latent mean is \[3, 4, 4\], not \[32, 4, 4\]"):
        load_autoencoder(str(folder))
    (folder / "encoder" / "config.json").write_text('{"model_type": "dinov2"}')
    with pytest.raises(UserError, match=r"config\.json: describes 'dinov2', not 'dinov2_with_registers'"):
        load_autoencoder(str(folder))
