"""RAE stage 1 against the official code's outputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from drlbench.backbones import create
from drlbench.backbones.rae.autoencoder import DECODER_EPS, RAEAutoencoder
from drlbench.backbones.rae.official import RAEProcedure
from drlbench.errors import UserError

ARGUMENTS = (
    "encoder_args",
    "encoder_input_size",
    "decoder_args",
    "decoder_patch_size",
    "image_mean",
    "image_std",
    "eps",
)


def build(data: Any, **statistics: Any) -> RAEAutoencoder:
    net = create("rae-autoencoder", **{k: data.config[k] for k in ARGUMENTS}, **statistics)
    net.load_official_state_dict(encoder=load_file(data.folder / "encoder.safetensors"), decoder=data.weights)
    return net


@pytest.fixture(scope="module")
def official(golden: Callable[[str], Any]) -> tuple[RAEAutoencoder, Any]:
    data = golden("rae_stage1")
    return build(data, latent_mean=data.io["latent_mean"], latent_var=data.io["latent_var"]), data


@torch.no_grad()
def test_encode_and_decode_match_the_official_code(official: tuple[RAEAutoencoder, Any]) -> None:
    net, data = official
    latents = net.encode(data.io["image"])
    torch.testing.assert_close(net.tokens(data.io["image"]), data.io["encoder_tokens"], atol=5e-6, rtol=0)
    torch.testing.assert_close(latents, data.io["encode"], atol=5e-6, rtol=0)
    torch.testing.assert_close(net.decode(latents), data.io["decode_of_encode"], atol=5e-6, rtol=0)
    torch.testing.assert_close(net.decode(data.io["z"]), data.io["decode"], atol=5e-6, rtol=0)


@torch.no_grad()
def test_without_statistics(golden: Callable[[str], Any]) -> None:
    data = golden("rae_stage1")
    net = build(data)
    torch.testing.assert_close(net.encode(data.io["image"]), data.io["encode_nonorm"], atol=5e-6, rtol=0)
    torch.testing.assert_close(net.decode(data.io["z"]), data.io["decode_nonorm"], atol=5e-6, rtol=0)


def test_uint8_rounding(official: tuple[RAEAutoencoder, Any]) -> None:
    _, data = official
    rounded = RAEProcedure().to_uint8(data.io["decode"]).permute(0, 2, 3, 1)
    assert torch.equal(rounded, data.io["uint8"])


def test_sliced_decoding_gives_the_same_image_and_gradient(official: tuple[RAEAutoencoder, Any]) -> None:
    net, data = official
    results = []
    for size in (1, 2):
        net.slice_size = size
        z = data.io["z"].clone().requires_grad_()
        image = net.decode(z)
        (gradient,) = torch.autograd.grad(image.square().sum(), z)
        results.append((image.detach(), gradient))
    torch.testing.assert_close(results[0], results[1], atol=1e-5, rtol=1e-5)
    assert results[0][1].abs().max() > 0
    assert not any(p.requires_grad for p in net.parameters())


def test_every_norm_of_the_decoder_has_the_official_eps(official: tuple[RAEAutoencoder, Any]) -> None:
    norms = [m for m in official[0].decoder.modules() if isinstance(m, torch.nn.LayerNorm)]
    assert len(norms) == 7
    assert all(norm.eps == DECODER_EPS for norm in norms)


def test_a_missing_encoder_key_is_named_as_in_the_file(official: tuple[RAEAutoencoder, Any]) -> None:
    net, data = official
    weights = load_file(data.folder / "encoder.safetensors")
    del weights["encoder.layer.0.attention.attention.query.weight"]
    with pytest.raises(UserError, match=r"1 missing: encoder\.layer\.0\.attention\.attention\.query\.weight"):
        net.load_official_state_dict(encoder=weights)


@pytest.mark.parametrize(
    ("statistics", "message"),
    [
        ({"latent_mean": torch.zeros(32, 3, 3)}, r"latent mean is \[32, 3, 3\], not \[32, 4, 4\]"),
        ({"latent_var": torch.full((32, 4, 4), -1.0)}, "latent var holds NaN, infinity or a negative variance"),
        ({"latent_var": torch.full((32, 4, 4), torch.nan)}, "latent var holds NaN"),
    ],
)
def test_bad_statistics(golden: Callable[[str], Any], statistics: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(golden("rae_stage1"), **statistics)


@torch.no_grad()
def test_tokens_of_another_grid_are_resized_bilinearly(golden: Callable[[str], Any]) -> None:
    net = build(golden("rae_stage1"))
    fine = torch.randn(2, 32, 8, 8, generator=torch.Generator().manual_seed(0))
    # From 8 x 8 to 4 x 4 every new token is the mean of a square of four.
    coarse = fine.unflatten(3, (4, 2)).unflatten(2, (4, 2)).mean((3, 5))
    torch.testing.assert_close(net.decode(fine), net.decode(coarse), atol=5e-6, rtol=0)
    wide = net.decode(coarse[:, :, :2, :2])
    assert wide.shape == (2, 3, 20, 20)
    with pytest.raises(UserError, match="15 tokens are no square grid"):
        net.decode(fine[:, :, :3, :5])


@torch.no_grad()
@pytest.mark.parametrize("shape", [(1, 32, 4, 4), (32, 1, 1), (1, 1, 1), (1, 32, 1, 1)])
def test_statistics_of_other_shapes(golden: Callable[[str], Any], shape: tuple[int, ...]) -> None:
    data = golden("rae_stage1")
    generator = torch.Generator().manual_seed(0)
    mean, var = torch.randn(shape, generator=generator), torch.rand(shape, generator=generator) + 0.1
    net = build(data, latent_mean=mean, latent_var=var)
    plain = data.io["encode_nonorm"]
    torch.testing.assert_close(net.encode(data.io["image"]), (plain - mean) / (var + 1e-5).sqrt(), atol=2e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("size", [8, 28, 40])
def test_encoder_input_of_another_size(golden: Callable[[str], Any], size: int) -> None:
    """Positions are interpolated to the grid of the input; their grid stays as stored (28 pixels, 7 x 7)."""
    data = golden("rae_stage1")
    arguments = {k: data.config[k] for k in ARGUMENTS} | {"encoder_input_size": size}
    net = create("rae-autoencoder", **arguments)
    net.load_official_state_dict(encoder=load_file(data.folder / "encoder.safetensors"))
    side = size // 4
    assert net.latent_shape == (32, side, side)
    table = net.encoder.embeddings.position_embeddings[:, 1:].unflatten(1, (7, 7)).permute(0, 3, 1, 2)
    expected = torch.nn.functional.interpolate(table, (side, side), mode="bicubic", antialias=True)
    flat = torch.full((1, 3, size, size), 0.5)
    seen = []
    net.encoder.embeddings.register_forward_hook(lambda *call: seen.append(call[2]))
    tokens = net.tokens(flat)
    assert tokens.shape == (1, side**2, 32)
    # Every patch of a flat image is alike, so its tokens differ by their positions only.
    places = seen[0][:, 5:] - seen[0][:, 5:6]
    table = expected.flatten(2).mT
    torch.testing.assert_close(places, table - table[:, :1], atol=2e-6, rtol=0)
    assert net.decode(net.encode(flat)).shape == (1, 3, side * 5, side * 5)
