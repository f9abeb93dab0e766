"""A second network beside the start's: nothing changes until it is trained, and then the sum is what is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from drlbench import backbones
from drlbench.backbones.base import VelocityModel
from drlbench.backbones.widened import widen
from drlbench.errors import UserError
from drlbench.finetune.learner import shadow
from drlbench.stages.files import load_model, save_finetuned, save_model

SMALL: dict[str, dict[str, Any]] = {
    "sit": {"input_size": 4, "in_channels": 1, "hidden_size": 8, "depth": 1, "num_heads": 2, "num_classes": 3},
    "jit": {
        "input_size": 4,
        "patch_size": 2,
        "in_channels": 1,
        "hidden_size": 8,
        "depth": 3,
        "num_heads": 2,
        "num_classes": 3,
        "bottleneck_dim": 4,
        "in_context_len": 2,
        "in_context_start": 2,
    },
    "repa": {
        "input_size": 4,
        "in_channels": 1,
        "hidden_size": 8,
        "depth": 2,
        "num_heads": 2,
        "num_classes": 3,
        "encoder_depth": 2,
        "z_dims": [6],
        "projector_dim": 5,
    },
    "rae": {
        "input_size": 2,
        "in_channels": 3,
        "hidden_size": [8, 8],
        "depth": [1, 1],
        "num_heads": [2, 2],
        "num_classes": 3,
    },
}


def trained(family: str) -> VelocityModel:
    """A model none of whose weights is zero, as after training."""
    net = backbones.create(family, **SMALL[family])
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.1 * torch.randn(p.shape))
    return backbones.wrap(net).eval()  # type: ignore[arg-type] # one of several families


@torch.no_grad()  # attention rounds differently where gradients are taken
def velocity(model: VelocityModel) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(5, *model.latent_shape, generator=generator)
    return model.velocity(x, torch.rand(5, generator=generator), torch.arange(5) % 4)


def alike(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Of two copies of one network, whose weights may lie otherwise in memory: equal but for rounding."""
    return bool(torch.allclose(a, b, rtol=1e-5, atol=1e-6))


@pytest.mark.parametrize("family", SMALL)
def test_the_start_is_the_base_bit_for_bit(family: str) -> None:
    torch.manual_seed(0)
    model = trained(family)
    before = velocity(model)
    assert before.abs().max() > 0
    widen(model.net, family, SMALL[family], 12, 2)
    assert torch.equal(velocity(model), before)
    # and the second network is not stuck there: its output layer has a gradient
    x = torch.randn(5, *model.latent_shape)
    model.velocity(x, torch.full((5,), 0.5), torch.arange(5) % 3).square().sum().backward()
    found = [p.grad for n, p in model.net.named_parameters() if n.startswith("beside.final_layer.linear")]
    assert all(g is not None and g.abs().max() > 0 for g in found)
    assert len(found) == 2


@pytest.mark.parametrize("family", SMALL)
def test_a_widened_model_is_kept_and_copied_whole(family: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    start, out = tmp_path / "start", tmp_path / "out"
    start.mkdir()
    out.mkdir()
    save_model(start, trained(family), {"family": family, "architecture": SMALL[family], "autoencoder": "pixels"})
    policy = {"widen": 12, "depth": 2}
    model, reference = load_model(start, trainable=True, policy=policy), load_model(start)
    assert alike(velocity(model), velocity(reference))
    with torch.no_grad():
        for p in model.net.parameters():
            p.add_(0.1 * torch.randn(p.shape))
    after = velocity(model)
    assert (after - velocity(reference)).abs().max() > 0.01
    assert alike(velocity(shadow(model)), after)
    save_finetuned(out, model, start, policy)
    read = load_model(out)
    assert alike(velocity(read), after)
    # A run that starts from there goes on with both networks.
    again = tmp_path / "again"
    again.mkdir()
    save_finetuned(again, load_model(out, trainable=True), out)
    assert alike(velocity(load_model(again)), after)


def test_what_cannot_be_put_beside_is_refused() -> None:
    net = backbones.create("mlp", shape=(1, 1, 2))
    with pytest.raises(UserError, match="'mlp' cannot be put beside"):
        widen(net, "mlp", {"shape": (1, 1, 2)}, 8, 1)
    sit = backbones.create("sit", **SMALL["sit"])
    with pytest.raises(UserError, match="widen 10 is not a multiple of 4, the width of one attention head"):
        widen(sit, "sit", SMALL["sit"], 10, 1)
