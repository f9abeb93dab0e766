"""The official sizes by name, as constructor arguments of the networks.

`sit-xl-2`, `jit-h-16`, `repa-sit-xl-2` and `rae-ditdh-xl` are the 256-pixel models of the paper (JiT's patch 32 means
512 pixels); `-512` after any of the others gives the 512-pixel model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from drlbench.backbones.known import Known
from drlbench.errors import UserError, did_you_mean
from drlbench.registry import BACKBONES

TRANSFORMERS = {  # depth, hidden_size, num_heads
    "s": (12, 384, 6),
    "b": (12, 768, 12),
    "l": (24, 1024, 16),
    "xl": (28, 1152, 16),
}
JITS = {  # depth, hidden_size, num_heads, bottleneck_dim, in_context_start
    "b": (12, 768, 12, 128, 4),
    "l": (24, 1024, 16, 128, 8),
    "h": (32, 1280, 16, 256, 10),
}
DINOV2_BASE_WIDTH = 768
LATENT_AUTOENCODERS = {"sit": "sd-vae-ft-ema", "repa": "sd-vae-ft-ema", "rae": "rae-dinov2-b-256"}


def _transformer(size: str, latent: int, patch: int) -> dict[str, Any]:
    depth, hidden, heads = TRANSFORMERS[size]
    return {
        "input_size": latent,
        "patch_size": patch,
        "in_channels": 4,
        "hidden_size": hidden,
        "depth": depth,
        "num_heads": heads,
    }


def _jit(size: str, patch: int) -> dict[str, Any]:
    depth, hidden, heads, bottleneck, start = JITS[size]
    return {
        "input_size": 16 * patch,
        "patch_size": patch,
        "in_channels": 3,
        "hidden_size": hidden,
        "depth": depth,
        "num_heads": heads,
        "bottleneck_dim": bottleneck,
        "in_context_len": 32,
        "in_context_start": start,
    }


def _ditdh(size: str, latent: int) -> dict[str, Any]:
    depth, hidden, heads = TRANSFORMERS[size]
    return {
        "input_size": latent,
        "patch_size": 1,
        "in_channels": DINOV2_BASE_WIDTH,
        "hidden_size": [hidden, 2048],
        "depth": [depth, 2],
        "num_heads": [heads, 16],
    }


def _sizes() -> dict[str, tuple[str, dict[str, Any]]]:
    named: dict[str, tuple[str, dict[str, Any]]] = {}
    for pixels, suffix in ((256, ""), (512, "-512")):
        latent = pixels // 8  # the SD-VAE's downsampling
        for size in TRANSFORMERS:
            for patch in (2, 4, 8):
                named[f"sit-{size}-{patch}{suffix}"] = ("sit", _transformer(size, latent, patch))
        for size in ("b", "l", "xl"):
            named[f"repa-sit-{size}-2{suffix}"] = ("repa", _transformer(size, latent, 2))
        for size in ("s", "xl"):
            named[f"rae-ditdh-{size}{suffix}"] = ("rae", _ditdh(size, pixels // 16))
    for size in JITS:
        for patch in (16, 32):
            named[f"jit-{size}-{patch}"] = ("jit", _jit(size, patch))
    return named


SIZES: Mapping[str, tuple[str, dict[str, Any]]] = Known(
    _sizes(), lambda name, kind: {size: (name, dict(arguments)) for size, arguments in kind.sizes.items()}
)


def size_key(name: str) -> str:
    """A size's name as `SIZES` writes it: SiT-XL/2 is sit-xl-2."""
    return name.lower().replace("/", "-").removesuffix("-256")


def resolve(name: str, known: list[str]) -> tuple[str, dict[str, Any]]:
    """The backbone and the constructor arguments behind a name; a bare backbone name has no arguments.

    Raises:
        UserError: the name is neither a size nor one of `known`.
    """
    key = size_key(name)
    if key in SIZES:
        return SIZES[key]
    if name in known:
        return name, {}
    valid = [*known, *SIZES]
    raise UserError(f"unknown backbone '{name}'{did_you_mean(key, valid)}; valid: {', '.join(valid)}")


def default_autoencoder(name: str) -> str:
    """The autoencoder an official size was trained on; small models of one's own are taken to work on pixels."""
    key = size_key(name)
    if key not in SIZES:
        return "pixels"
    family = SIZES[key][0]
    if family in BACKBONES.plugins:
        found: str = BACKBONES.get(family).autoencoder
        return found
    if family not in LATENT_AUTOENCODERS:
        return "pixels"
    return "rae-dinov2-b-512" if family == "rae" and key.endswith("-512") else LATENT_AUTOENCODERS[family]
