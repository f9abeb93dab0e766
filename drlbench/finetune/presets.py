"""`preset: paper`: the settings of a backbone's recipe; a suite writes only what it changes."""

from __future__ import annotations

from typing import Any

from drlbench.errors import UserError, did_you_mean
from drlbench.registry import BACKBONES

UPDATES = {"drl": 3000, "preference": 5000}
"""Updates of a discriminator run and of a preference run."""

SHARED = ("batch", "learning_rate", "warmup", "gradient_clip")


def has_preset(backbone: str) -> bool:
    """Whether a registered backbone declares a recipe."""
    return bool(BACKBONES.get(backbone).recipe)


def preset(algorithm: str, backbone: str) -> dict[str, Any]:
    """Settings of an algorithm for a backbone, ready for its constructor or for a suite's overrides.

    Raises:
        UserError: no such backbone, or one without a recipe.
    """
    recipe = BACKBONES.get(backbone).recipe if backbone in BACKBONES.names() else {}
    if not recipe:
        with_one = [name for name in BACKBONES.names() if has_preset(name)]
        near = did_you_mean(backbone, with_one)
        raise UserError(f"no preset for backbone '{backbone}'{near}; there are {', '.join(with_one)}")
    own = dict(recipe.get(algorithm, {}))
    if algorithm == "adjoint-matching":
        return own
    common = recipe.get("adjoint-matching", {})
    return {name: common[name] for name in SHARED if name in common} | own
