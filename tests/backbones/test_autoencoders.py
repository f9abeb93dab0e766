"""An SD-VAE folder's own scaling of its latents, both ways."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL

from drlbench.backbones.autoencoders import load_sd_vae
from drlbench.errors import UserError


def folder(tmp_path: Path, **config: Any) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vae = AutoencoderKL(
            block_out_channels=(8, 8),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            norm_num_groups=4,
            layers_per_block=1,
            latent_channels=4,
        )
    vae.save_pretrained(tmp_path)
    kept = json.loads((tmp_path / "config.json").read_text())
    kept = {k: v for k, v in kept.items() if k not in ("scaling_factor", "shift_factor")}
    (tmp_path / "config.json").write_text(json.dumps({**kept, **config}))
    return tmp_path


@pytest.mark.parametrize(
    ("config", "scale", "shift"),
    [
        ({}, 0.18215, 0.0),
        ({"scaling_factor": 0.13025}, 0.13025, 0.0),
        ({"scaling_factor": 0.3611, "shift_factor": 0.1159}, 0.3611, 0.1159),
        ({"scaling_factor": 1, "shift_factor": None}, 1.0, 0.0),
        (
            {"scaling_factor": 0.5, "latents_mean": [1.0, 2.0, 3.0, 4.0], "latents_std": [1.0, 2.0, 4.0, 8.0]},
            [0.5, 0.25, 0.125, 0.0625],
            [1.0, 2.0, 3.0, 4.0],
        ),
    ],
)
def test_latents_are_scaled_as_the_folder_says_and_back(config: Any, scale: Any, shift: Any, tmp_path: Path) -> None:
    ours = load_sd_vae(folder(tmp_path, **config))
    x = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    a, b = (torch.tensor(v).reshape(-1, 1, 1) for v in (scale, shift))
    with torch.no_grad():
        mean = ours.vae.encode(x * 2 - 1).latent_dist.mean
        torch.testing.assert_close(ours.encode(x), (mean - b) * a)
        torch.testing.assert_close(ours.decode((mean - b) * a), (ours.vae.decode(mean).sample + 1) / 2)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"scaling_factor": 0}, "scaling_factor must be a positive number, not 0"),
        ({"scaling_factor": "0.13"}, "scaling_factor must be a positive number"),
        ({"scaling_factor": 0.13, "shift_factor": [0.1]}, "shift_factor must be a number"),
        ({"scaling_factor": 0.13, "latents_mean": [0.1]}, "latents_mean must be 4 numbers"),
    ],
)
def test_what_is_no_scaling_is_refused(config: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        load_sd_vae(folder(tmp_path, **config))
