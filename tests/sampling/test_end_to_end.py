"""256-pixel images through the released latent shapes with small random networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from drlbench.backbones import create, wrap
from drlbench.backbones.autoencoders import SDVAE
from drlbench.backbones.base import VelocityModel
from drlbench.sampling.generate import balanced_labels, generate, sample_latents
from drlbench.sampling.guidance import ClassifierFree
from drlbench.seeds import sample_seeds

SMALL = {"hidden_size": 16, "depth": 1, "num_heads": 4}


def jit() -> VelocityModel:
    return wrap(create("jit", **SMALL, bottleneck_dim=8, in_context_start=0))


def sit() -> VelocityModel:
    """Decoded image by image on a CPU, whose convolutions of another batch size round differently (up to 5.6e-5)."""
    from diffusers import AutoencoderKL

    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(4, 4, 4, 4),
        layers_per_block=1,
        norm_num_groups=2,
        latent_channels=4,
    )
    return wrap(create("sit", **SMALL), SDVAE(vae))


def rae() -> VelocityModel:
    autoencoder = create(
        "rae-autoencoder",
        encoder_args={
            "hidden_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "patch_size": 14,
            "image_size": 28,
        },
        decoder_args={
            "decoder_hidden_size": 16,
            "decoder_intermediate_size": 16,
            "decoder_num_attention_heads": 2,
            "decoder_num_hidden_layers": 1,
        },
    )
    net = create("rae", in_channels=32, hidden_size=[16, 16], depth=[1, 1], num_heads=[2, 2])
    assert net.latent_shape == autoencoder.latent_shape == (32, 16, 16)
    return wrap(net, autoencoder)


@pytest.mark.parametrize("build", [jit, sit, rae])
def test_images_of_256_pixels(build: object) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build()  # type: ignore[operator]
        for parameter in model.net.parameters():
            if parameter.requires_grad:
                torch.nn.init.normal_(parameter, std=0.1)
    seeds, labels = sample_seeds(0, 3), balanced_labels(3, 1000)
    images = generate(model, labels, seeds, steps=2, guidance=ClassifierFree(1.5, 0.1, 1.0), batch_size=2)
    assert (images.shape, images.dtype) == ((3, 256, 256, 3), np.uint8)
    y = torch.from_numpy(labels)
    together = sample_latents(model, y, seeds, steps=2)
    alone = torch.cat([sample_latents(model, y[i : i + 1], seeds[i : i + 1], steps=2) for i in range(3)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        decoded = model.decode(together)
        torch.testing.assert_close(decoded, torch.cat([model.decode(z[None]) for z in together]), atol=1e-5, rtol=1e-5)
        assert model.encode(decoded.clamp(0, 1)).shape == together.shape
