"""SiT against the official code's outputs, and its place in the one convention."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from drlbench.backbones import create, wrap
from drlbench.errors import UserError


@pytest.fixture(scope="module")
def official(golden: Callable[[str], Any]) -> tuple[Any, Any]:
    data = golden("sit")
    net = create("sit", **data.config["args"]).eval()
    net.load_official_state_dict(data.weights)
    return net, data


@torch.no_grad()
def test_forward_matches_the_official_code(official: tuple[Any, Any]) -> None:
    net, data = official
    torch.testing.assert_close(net(data.io["x"], data.io["t"], data.io["y"]), data.io["forward"], atol=5e-6, rtol=0)


@torch.no_grad()
def test_official_guidance_leaves_the_fourth_channel_alone(official: tuple[Any, Any]) -> None:
    net, data = official
    x, t, y, scale = data.io["cfg_x"], data.io["cfg_t"], data.io["cfg_y"], data.config["cfg_scale"]
    out = net.forward_with_cfg(x, t, y, scale)
    # scale 4 multiplies the rounding of two evaluations by up to 7
    torch.testing.assert_close(out, data.io["cfg_forward"], atol=2e-5, rtol=0)
    plain = net(torch.cat([x[:2], x[:2]]), t, y)
    torch.testing.assert_close(out[:, 3:], plain[:, 3:], atol=0, rtol=0)


def test_untrained_network_returns_zero() -> None:
    net = create("sit", input_size=8, hidden_size=16, depth=1, num_heads=4, num_classes=10)
    out = net(torch.randn(2, 4, 8, 8), torch.rand(2), torch.tensor([0, 10]))
    assert out.shape == (2, 4, 8, 8)
    assert out.abs().max() == 0


@pytest.mark.parametrize("built", [True, False])
@pytest.mark.parametrize("trained", [True, False])
def test_learn_sigma_is_read_off_the_checkpoint(built: bool, trained: bool) -> None:
    sizes = {"input_size": 8, "hidden_size": 16, "depth": 1, "num_heads": 4, "num_classes": 10}
    source = create("sit", **sizes, learn_sigma=trained)
    torch.nn.init.normal_(source.final_layer.linear.weight)
    target = create("sit", **sizes, learn_sigma=built)
    target.load_official_state_dict(source.state_dict())
    x, t, y = torch.randn(2, 4, 8, 8), torch.rand(2), torch.tensor([0, 10])
    torch.testing.assert_close(target(x, t, y), source(x, t, y), atol=0, rtol=0)


def test_pos_embed_of_the_checkpoint_wins(golden: Callable[[str], Any]) -> None:
    data = golden("sit")
    net = create("sit", **data.config["args"])
    torch.testing.assert_close(net.pos_embed.data, data.weights["pos_embed"], atol=1e-7, rtol=0)
    net.load_official_state_dict({**data.weights, "pos_embed": data.weights["pos_embed"] + 1})
    torch.testing.assert_close(net.pos_embed.data, data.weights["pos_embed"] + 1)
    assert not net.pos_embed.requires_grad


def test_velocity_model_passes_through(official: tuple[Any, Any]) -> None:
    net, data = official
    model = wrap(net)
    with torch.no_grad():
        out = model.velocity(data.io["x"], data.io["t"], data.io["y"])
    torch.testing.assert_close(out, data.io["forward"], atol=5e-6, rtol=0)
    assert (model.latent_shape, model.null_class, model.noise_scale) == ((4, 8, 8), 10, 1.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input_size": 9}, "input_size 9 is not a multiple of patch_size 2"),
        ({"hidden_size": 20, "num_heads": 3}, "hidden_size 20 is not a multiple of num_heads 3"),
        ({"hiden_size": 20}, "did you mean 'hidden_size'"),
    ],
)
def test_sizes_that_do_not_divide(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        create("sit", **arguments)
