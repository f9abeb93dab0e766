"""Every official size, built at full size without memory, has the official keys, shapes and parameter counts.

tests/golden/key_shapes/official.json: sha256 over the sorted lines "key [shape]" of the official models, and counts.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from drlbench.backbones import create
from drlbench.backbones.rae.autoencoder import decoder_arguments, on_disk_name
from drlbench.backbones.sizes import SIZES, resolve
from drlbench.errors import UserError

OFFICIAL: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "golden/key_shapes/official.json").read_text()
)


def digest(state: dict[str, Tensor], prefix: str = "") -> str:
    return hashlib.sha256(
        "\n".join(sorted(f"{prefix}{k} {list(v.shape)}" for k, v in state.items())).encode()
    ).hexdigest()


def our_name(official: str) -> tuple[str, dict[str, Any]]:
    model, _, rest = official.partition("_")
    suffix = "-512" if rest.startswith("512") and not model.startswith("JiT") else ""
    return model.lower() + suffix, {"learn_sigma": False} if "learn_sigma_false" in rest else {}


def check(net: nn.Module, official: str, prefix: str = "") -> None:
    state, expected = net.state_dict(), OFFICIAL[official]
    assert digest(state, prefix) == expected["key_shape_sha256"]
    assert len(state) == expected["state_dict_entries"]
    assert sum(v.numel() for v in state.values()) == expected["state_dict_elements"]
    assert sum(p.numel() for p in net.parameters()) == expected["params_total"]


@pytest.mark.parametrize("official", [n for n in OFFICIAL if not n.startswith(("RAE-decoder", "RAE-encoder"))])
def test_network_has_the_official_keys(official: str) -> None:
    name, options = our_name(official)
    with torch.device("meta"):
        net = create(name, **options)
    check(net, official, "net." if official.startswith("JiT") else "")
    trainable = sum(p.numel() for p in net.parameters() if p.requires_grad)
    assert trainable == OFFICIAL[official]["params_trainable"]


@pytest.mark.parametrize(("size", "pixels"), [("b", 256), ("l", 256), ("xl", 256), ("xl", 512)])
def test_rae_decoder_has_the_official_keys(size: str, pixels: int) -> None:
    with torch.device("meta"):
        autoencoder = create(
            "rae-autoencoder", encoder_input_size=pixels // 16 * 14, decoder_args=decoder_arguments(size)
        )
    check(autoencoder.decoder, f"RAE-decoder-ViT{size.upper()}_{pixels}")
    assert autoencoder.latent_shape == (768, pixels // 16, pixels // 16)


def test_rae_encoder_has_the_official_keys() -> None:
    with torch.device("meta"):
        autoencoder = create("rae-autoencoder", decoder_args=decoder_arguments("b"))
    state = {on_disk_name(key): value for key, value in autoencoder.encoder.state_dict().items()}
    # The affine map of the last norm is in the file and not in the model.
    state |= {f"layernorm.{k}": torch.empty(768, device="meta") for k in ("weight", "bias")}
    assert digest(state) == OFFICIAL["RAE-encoder-dinov2-with-registers-base"]["key_shape_sha256"]


def test_every_promised_size_has_a_name() -> None:
    promised = [f"sit-{s}-{p}" for s in ("s", "b", "l", "xl") for p in (2, 4, 8)]
    promised += [f"jit-{s}-{p}" for s in "blh" for p in (16, 32)] + [f"repa-sit-{s}-2" for s in ("b", "l", "xl")]
    promised += [f"rae-ditdh-{s}{r}" for s in ("s", "xl") for r in ("", "-512")]
    assert set(promised) <= set(SIZES)
    assert resolve("SiT-XL/2", []) == SIZES["sit-xl-2"]


def test_unknown_size_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"unknown backbone 'sit-x-2' \(did you mean 'sit-xl-2'"):
        create("sit-x-2")
