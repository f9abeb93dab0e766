"""The architecture read off the weights is the one they were made with."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch

from drlbench.backbones import create
from drlbench.backbones.infer import family_of, infer_architecture
from drlbench.backbones.sizes import SIZES
from drlbench.errors import UserError

SMALL: dict[str, dict[str, Any]] = {
    "sit": {"input_size": 8, "patch_size": 4, "in_channels": 1, "hidden_size": 16, "depth": 3, "num_heads": 2,
            "mlp_ratio": 2.0, "num_classes": 10, "learn_sigma": False},
    "repa": {"input_size": 8, "patch_size": 2, "in_channels": 4, "hidden_size": 16, "depth": 3, "num_heads": 2,
             "encoder_depth": 3, "num_classes": 7, "z_dims": [12, 5], "projector_dim": 24},
    "jit": {"input_size": 32, "patch_size": 8, "in_channels": 3, "hidden_size": 32, "depth": 2, "num_heads": 4,
            "bottleneck_dim": 6, "in_context_len": 5, "in_context_start": 1, "num_classes": 4},
    "rae": {"input_size": 4, "in_channels": 12, "hidden_size": [16, 32], "depth": [3, 2], "num_heads": [2, 4],
            "num_classes": 9, "use_qknorm": False},
}  # fmt: skip
UNREADABLE = {"sit": ["num_heads"], "repa": ["num_heads"], "jit": ["in_context_start"], "rae": []}


@pytest.mark.parametrize("family", SMALL)
def test_small_networks(family: str) -> None:
    state = create(family, **SMALL[family]).state_dict()
    assert family_of(state) == family
    given = {name: SMALL[family][name] for name in UNREADABLE[family]}
    found = infer_architecture(family, state, given)
    assert {name: found[name] for name in SMALL[family]} == SMALL[family]
    create(family, **found).load_official_state_dict(state)
    for name in given:
        with pytest.raises(UserError, match=f"{name} cannot be read off the weights.*--architecture {name}=VALUE"):
            infer_architecture(family, state, {k: v for k, v in given.items() if k != name})


@pytest.mark.parametrize("size", ["sit-s-4", "sit-xl-2", "jit-b-16", "jit-h-32", "repa-sit-b-2", "rae-ditdh-s"])
def test_official_sizes_need_no_word(size: str) -> None:
    family, arguments = SIZES[size]
    with torch.device("meta"):
        net = create(size)
    found = infer_architecture(family, net.state_dict(), {})
    defaults = {k: v.default for k, v in inspect.signature(type(net).__init__).parameters.items()}
    for name, value in found.items():
        expected = arguments.get(name, defaults[name])
        assert value == (list(expected) if isinstance(expected, (list, tuple)) else expected), name


def test_repa_of_the_first_release() -> None:
    state = create("repa", **{**SMALL["repa"], "encoder_depth": 2}).state_dict()
    legacy = {k.replace("blocks.2.", "decoder_blocks.0."): v for k, v in state.items()}
    found = infer_architecture("repa", legacy, {"num_heads": 2})
    assert (found["depth"], found["encoder_depth"]) == (3, 2)
    create("repa", **found).load_official_state_dict(legacy)


def test_weights_of_something_else() -> None:
    assert family_of({"fc.weight": torch.zeros(1)}) is None
    with pytest.raises(UserError, match=r"does not fit sit: 1 missing: x_embedder.proj.weight"):
        infer_architecture("sit", {"fc.weight": torch.zeros(1)}, {})
