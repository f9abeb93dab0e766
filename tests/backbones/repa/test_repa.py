"""REPA against the official code's outputs, its training losses, and its place in the one convention."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from drlbench.backbones import create, wrap
from drlbench.backbones.repa.network import projection_loss
from drlbench.errors import UserError

TINY = {"input_size": 8, "hidden_size": 16, "depth": 3, "num_heads": 4, "encoder_depth": 1, "z_dims": [6, 5]}


@pytest.fixture(scope="module")
def official(golden: Callable[[str], Any]) -> tuple[Any, Any]:
    data = golden("repa")
    net = create("repa", **data.config["args"]).eval()
    net.load_official_state_dict(data.weights)
    return net, data


@torch.no_grad()
def test_forward_and_projections_match_the_official_code(official: tuple[Any, Any]) -> None:
    net, data = official
    velocity, projections = net(data.io["x"], data.io["t"], data.io["y"], return_projections=True)
    torch.testing.assert_close(velocity, data.io["forward"], atol=5e-6, rtol=0)
    torch.testing.assert_close(projections[0], data.io["forward_zs_0"], atol=5e-6, rtol=0)
    torch.testing.assert_close(net(data.io["x"], data.io["t"], data.io["y"]), velocity, atol=0, rtol=0)


@torch.no_grad()
def test_training_losses_match_the_official_code(official: tuple[Any, Any]) -> None:
    net, data = official
    x, e, t = data.io["train_x"], data.io["train_noise"], data.io["train_t"]
    velocity, projections = net((1 - t) * x + t * e, t.flatten(), data.io["y_sample"], return_projections=True)
    loss = (velocity - (e - x)).square().mean((1, 2, 3))
    torch.testing.assert_close(loss, data.io["train_denoising_loss"], atol=5e-6, rtol=0)
    aligned = projection_loss(projections, [data.io["train_feat_0"]])
    torch.testing.assert_close(aligned, data.io["train_proj_loss"], atol=1e-6, rtol=0)


@torch.no_grad()
def test_velocity_model_turns_time_and_sign_round(official: tuple[Any, Any]) -> None:
    net, data = official
    out = wrap(net).velocity(data.io["x"], 1 - data.io["t"], data.io["y"])
    torch.testing.assert_close(out, -data.io["forward"], atol=5e-6, rtol=0)


def test_legacy_names_of_the_later_blocks_load() -> None:
    source, target = create("repa", **TINY), create("repa", **TINY)
    torch.nn.init.normal_(source.final_layer.linear.weight)
    legacy = {}
    for key, value in source.state_dict().items():
        part = key.split(".")
        if part[0] == "blocks" and int(part[1]) >= 1:
            key = ".".join(["decoder_blocks", str(int(part[1]) - 1), *part[2:]])
        legacy[key] = value
    assert any(key.startswith("decoder_blocks.1.") for key in legacy)
    target.load_official_state_dict(legacy)
    x, t, y = torch.randn(2, 4, 8, 8), torch.rand(2), torch.tensor([0, 1000])
    torch.testing.assert_close(target(x, t, y), source(x, t, y), atol=0, rtol=0)


def test_query_and_key_norms_are_layer_norms() -> None:
    keys = create("repa", **TINY, qk_norm=True).state_dict()
    assert keys["blocks.0.attn.q_norm.weight"].shape == keys["blocks.0.attn.k_norm.bias"].shape == (4,)


def test_one_projection_per_encoder_with_a_gradient() -> None:
    net = create("repa", **TINY, projector_dim=7)
    _, projections = net(torch.randn(2, 4, 8, 8), torch.rand(2), torch.tensor([0, 1]), return_projections=True)
    assert [tuple(p.shape) for p in projections] == [(2, 16, 6), (2, 16, 5)]
    loss = projection_loss(projections, [torch.randn_like(p) for p in projections])
    loss.backward()
    assert net.projectors[1][4].weight.grad.abs().max() > 0
    assert -1 <= loss.item() <= 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"encoder_depth": 4}, "encoder_depth 4 must lie between 1 and depth 3"),
        ({"decoder_hidden_size": 32}, "decoder_hidden_size 32 must equal hidden_size 16"),
        ({"path_type": "gvp"}, "path_type 'gvp' is neither"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        create("repa", **{**TINY, **arguments})


def test_cosine_path_has_no_place_in_the_one_convention() -> None:
    with pytest.raises(UserError, match="cosine path"):
        wrap(create("repa", **TINY, path_type="cosine"))
