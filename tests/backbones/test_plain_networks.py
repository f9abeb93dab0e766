"""Every option of the four networks against their equations in float64 numpy, where no golden file exists."""

from __future__ import annotations

from typing import Any

import numpy as np
import plain_networks
import pytest
import torch
from torch import nn

from drlbench.backbones import create

FORWARD = 5e-6  # the limit that golden outputs are held to
SIT = {
    "input_size": 8,
    "patch_size": 2,
    "in_channels": 4,
    "hidden_size": 32,
    "depth": 2,
    "num_heads": 2,
    "num_classes": 7,
}
REPA = {**SIT, "encoder_depth": 1, "z_dims": [5], "projector_dim": 12}
JIT = {
    "input_size": 16, "patch_size": 4, "in_channels": 3, "hidden_size": 32, "depth": 3, "num_heads": 2,
    "num_classes": 7, "bottleneck_dim": 6, "in_context_len": 3, "in_context_start": 1,
}  # fmt: skip
RAE = {
    "input_size": 3, "in_channels": 6, "hidden_size": [24, 32], "depth": [2, 1], "num_heads": [3, 2], "num_classes": 7,
}  # fmt: skip
CASES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    *(
        ("sit", SIT, changed)
        for changed in (
            {},
            {"patch_size": 4},
            {"patch_size": 1, "input_size": 5},
            {"learn_sigma": False},
            {"mlp_ratio": 2.5},
            {"hidden_size": 36, "num_heads": 3},
            {"in_channels": 3},
            {"class_dropout_prob": 0.0},
        )
    ),
    *(
        ("repa", REPA, changed)
        for changed in (
            {},
            {"qk_norm": True},
            {"z_dims": [5, 9], "encoder_depth": 2},
            {"patch_size": 4, "mlp_ratio": 3.0},
            {"path_type": "cosine", "fused_attn": False, "use_cfg": False, "decoder_hidden_size": 32},
        )
    ),
    *(
        ("jit", JIT, changed)
        for changed in (
            {},
            {"in_context_start": 0},
            {"in_context_len": 0},
            {"in_context_len": 1, "in_context_start": 2},
            {"patch_size": 8, "num_heads": 4},
            {"mlp_ratio": 2.7},
            {"hidden_size": 36, "num_heads": 3, "bottleneck_dim": 40},
            {"attn_drop": 0.1, "proj_drop": 0.2},
        )
    ),
    *(
        ("rae", RAE, changed)
        for changed in (
            {},
            {"hidden_size": [32, 32], "num_heads": [2, 4]},
            {"depth": [1, 3]},
            {"use_qknorm": True},
            {"use_rmsnorm": False},
            {"use_rmsnorm": False, "use_qknorm": True},
            {"use_swiglu": False, "mlp_ratio": 3.0},
            {"use_pos_embed": False},
            {"class_dropout_prob": 0.0},
            {"hidden_size": [24, 48], "num_heads": 3},
            {"input_size": 1},
        )
    ),
]


def randomise(net: nn.Module, seed: int) -> None:
    """No weight is zero and no norm is one; fan-in scaling keeps the outputs near 1."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in net.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim > 1 and "pos" not in name and "table" not in name:
            noise = noise / parameter[0].numel() ** 0.5
        scale = 0.1 if "norm" in name or parameter.ndim == 1 else 1.0
        start = 1.0 if "norm" in name and name.endswith("weight") else 0.0
        parameter.data = start + scale * noise


@pytest.mark.parametrize(
    ("name", "base", "changed"), CASES, ids=lambda v: str(v) if isinstance(v, dict) and len(v) < 5 else ""
)
@torch.no_grad()
def test_forward_agrees_with_the_equations(name: str, base: dict[str, Any], changed: dict[str, Any]) -> None:
    arguments = {**base, **changed}
    net = create(name, **arguments).eval()
    randomise(net, 3)
    rows = net.y_embedder.embedding_table.weight.shape[0]
    generator = torch.Generator().manual_seed(4)
    x = torch.randn((3, *net.latent_shape), generator=generator)
    t, y = torch.tensor([0.0, 0.37, 1.0]), torch.tensor([0, 4, rows - 1])
    assert rows == 7 + (arguments.get("class_dropout_prob", 0.1) > 0)
    weights = {key: value.double().numpy() for key, value in net.state_dict().items()}
    inputs = (x.double().numpy(), t.double().numpy(), y.numpy())
    if name == "rae" and isinstance(arguments["num_heads"], int):
        arguments["num_heads"] = [arguments["num_heads"]] * 2
    expected = plain_networks.NETWORKS[name](weights, arguments, *inputs)
    assert 0.3 < expected.std() < 6
    assert np.abs(net(x, t, y).numpy() - expected).max() <= FORWARD * max(1.0, expected.std())
    if name == "repa":
        own = net(x, t, y, return_projections=True)[1]
        theirs = plain_networks.projections(weights, arguments, *inputs)
        assert [z.shape[-1] for z in own] == arguments["z_dims"]
        for mine, other in zip(own, theirs, strict=True):
            assert np.abs(mine.numpy() - other).max() <= FORWARD
