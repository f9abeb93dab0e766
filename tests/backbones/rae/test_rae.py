"""DiTDH against the official code's outputs, and its place in the one convention."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from drlbench.backbones import create, wrap
from drlbench.errors import UserError

TINY = {
    "input_size": 4,
    "in_channels": 3,
    "hidden_size": [8, 16],
    "depth": [1, 1],
    "num_heads": [2, 2],
    "num_classes": 10,
}


@pytest.fixture(scope="module")
def official(golden: Callable[[str], Any]) -> tuple[Any, Any, Any]:
    data = golden("rae_dit")
    net = create("rae", **data.config["args"]).eval()
    net.load_official_state_dict(data.weights)
    weak = create("rae", **data.config["guidance_model_args"]).eval()
    weak.load_official_state_dict(load_file(data.folder / data.config["guidance_model_weights"]))
    return net, weak, data


@torch.no_grad()
def test_forward_matches_the_official_code(official: tuple[Any, Any, Any]) -> None:
    net, weak, data = official
    x, t, y = data.io["x"], data.io["t"], data.io["y"]
    torch.testing.assert_close(net(x, t, y), data.io["forward"], atol=5e-6, rtol=0)
    torch.testing.assert_close(weak(x, t, y), data.io["ag_model_forward"], atol=5e-6, rtol=0)


@torch.no_grad()
def test_guidance_matches_the_official_code(official: tuple[Any, Any, Any]) -> None:
    net, weak, data = official
    x, t, scale = data.io["cfg_x"], data.io["cfg_t"], data.config["cfg_scale"]
    y = torch.cat([data.io["y_sample"], torch.full((2,), net.num_classes)])
    torch.testing.assert_close(net.forward_with_cfg(x, t, y, scale), data.io["cfg_forward"], atol=1e-5, rtol=0)
    out = net.forward_with_autoguidance(x, t, y, scale, weak)
    torch.testing.assert_close(out, data.io["ag_forward"], atol=1e-5, rtol=0)


@torch.no_grad()
def test_guidance_interval_includes_its_ends(official: tuple[Any, Any, Any]) -> None:
    net, _, data = official
    x = data.io["cfg_x"]
    y = torch.cat([data.io["y_sample"], torch.full((2,), net.num_classes)])
    plain = net(torch.cat([x[:2]] * 2), torch.full((4,), 0.5), y)[:2]
    for interval, guided in (((0.5, 1.0), True), ((0.0, 0.5), True), ((0.6, 1.0), False), ((0.0, 0.4), False)):
        out = net.forward_with_cfg(x, torch.full((4,), 0.5), y, 3.0, interval)[:2]
        assert torch.equal(out, plain) != guided


@torch.no_grad()
def test_velocity_model_turns_time_and_sign_round(official: tuple[Any, Any, Any]) -> None:
    net, _, data = official
    out = wrap(net).velocity(data.io["x"], 1 - data.io["t"], data.io["y"])
    torch.testing.assert_close(out, -data.io["forward"], atol=5e-6, rtol=0)


def test_rotary_buffers_are_required(official: tuple[Any, Any, Any]) -> None:
    data = official[2]
    weights = {k: v for k, v in data.weights.items() if k != "enc_feat_rope.freqs_sin"}
    with pytest.raises(UserError, match=r"1 missing: enc_feat_rope\.freqs_sin"):
        create("rae", **data.config["args"]).load_official_state_dict(weights)
    fresh = create("rae", **data.config["args"])
    for key in ("enc_feat_rope.freqs_cos", "dec_feat_rope.freqs_sin"):
        torch.testing.assert_close(fresh.state_dict()[key], data.weights[key], atol=1e-7, rtol=0)


@pytest.mark.parametrize(
    "options",
    [
        {"use_rmsnorm": False},
        {"use_swiglu": False},
        {"use_pos_embed": False},
        {"use_qknorm": True},
        {"hidden_size": [16, 16]},
        {"class_dropout_prob": 0.0},
    ],
)
def test_options_train(options: dict[str, Any]) -> None:
    net = create("rae", **{**TINY, **options})
    torch.nn.init.normal_(net.final_layer.linear.weight)
    x, t, y = torch.randn(2, 3, 4, 4), torch.rand(2), torch.tensor([0, 9])
    net(x, t, y).square().mean().backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.requires_grad and p.grad is not None)
    assert ("pos_embed" in net.state_dict()) == options.get("use_pos_embed", True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"patch_size": 2}, "patch_size must be 1"),
        ({"wo_shift": True}, "wo_shift must be False"),
        ({"use_rope": False}, "use_rope must be True"),
        ({"depth": 3}, r"depth must be two numbers, \[trunk, head\], not 3"),
        ({"hidden_size": [12, 16]}, "is 6, not a multiple of 4"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        create("rae", **{**TINY, **arguments})
