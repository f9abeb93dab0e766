"""JiT against the official code's outputs, and its velocity in the one convention."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from drlbench.backbones import create, wrap
from drlbench.backbones.jit.network import velocity_from_image
from drlbench.errors import UserError


@pytest.fixture(scope="module")
def official(golden: Callable[[str], Any]) -> tuple[Any, Any]:
    data = golden("jit")
    net = create("jit", **data.config["args"]).eval()
    net.load_official_state_dict(data.weights)
    return net, data


@torch.no_grad()
def test_forward_matches_the_official_code(official: tuple[Any, Any]) -> None:
    net, data = official
    torch.testing.assert_close(net(data.io["x"], data.io["t"], data.io["y"]), data.io["forward"], atol=5e-6, rtol=0)


def test_rotary_tables_match(official: tuple[Any, Any]) -> None:
    net, data = official
    torch.testing.assert_close(net.cos, data.io["rope_incontext_cos"], atol=1e-7, rtol=0)
    torch.testing.assert_close(net.sin, data.io["rope_incontext_sin"], atol=1e-7, rtol=0)
    assert not any("cos" in key or "sin" in key for key in net.state_dict())


@torch.no_grad()
def test_training_loss_matches_through_the_velocity_model(official: tuple[Any, Any]) -> None:
    # The official loss has the clamp of 1 - t in its target too.
    net, data = official
    x, e, t = data.io["train_x"], data.io["train_noise"], data.io["train_t"]
    torch.testing.assert_close(torch.sigmoid(0.8 * data.io["train_t_normal"] - 0.8), t)
    z = t[:, None, None, None] * x + (1 - t[:, None, None, None]) * e
    loss = (wrap(net).velocity(z, t, data.io["y_sample"]) - velocity_from_image(x, z, t)).square().mean()
    torch.testing.assert_close(loss, data.io["train_loss_eval"], atol=5e-6, rtol=0)


def test_velocity_is_clamped_near_the_data() -> None:
    image, x = torch.ones(1, 3, 2, 2), torch.zeros(1, 3, 2, 2)
    for t, expected in ((0.0, 1.0), (0.5, 2.0), (0.94, 1 / 0.06), (0.96, 20.0), (1.0, 20.0)):
        v = velocity_from_image(image, x, torch.tensor([t]))
        torch.testing.assert_close(v, torch.full_like(v, expected), rtol=1e-5, atol=0)


def test_noise_has_twice_the_scale_at_512_pixels() -> None:
    tiny = {"hidden_size": 16, "depth": 1, "num_heads": 4, "bottleneck_dim": 8, "num_classes": 10}
    assert wrap(create("jit", input_size=512, patch_size=64, **tiny)).noise_scale == 2.0
    assert wrap(create("jit", input_size=256, patch_size=64, **tiny)).noise_scale == 1.0


def test_head_width_must_split_into_pairs_per_axis() -> None:
    with pytest.raises(UserError, match="hidden_size / num_heads is 6, not a multiple of 4"):
        create("jit", hidden_size=24, num_heads=4)
