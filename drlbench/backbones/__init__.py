"""Backbones in one convention: make one, wrap it, or load an official checkpoint. torch is imported on use only."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from drlbench.errors import UserError, did_you_mean
from drlbench.registry import BACKBONES

if TYPE_CHECKING:
    from torch import nn

    from drlbench.backbones.base import Autoencoder, Backbone, VelocityModel

AUTOENCODER = "rae-autoencoder"


def create(name: str, **architecture: Any) -> nn.Module:
    """An untrained network in its official convention.

    Args:
        name: "sit", "jit", "repa", "rae", "rae-autoencoder", or an official size ("sit-xl-2", "jit-h-16",
            "repa-sit-xl-2", "rae-ditdh-xl", with "-512" for the 512-pixel latent models).
        architecture: the official constructor's arguments; they override those of a named size.

    Raises:
        UserError: an unknown name, an argument the constructor does not take, or sizes that do not divide.
    """
    from drlbench.backbones.sizes import resolve

    if name == AUTOENCODER:
        from drlbench.backbones.rae.autoencoder import RAEAutoencoder

        return _construct(name, RAEAutoencoder, architecture)
    backbone, arguments = resolve(name, [*BACKBONES.names(), AUTOENCODER])
    return _construct(name, BACKBONES.get(backbone), {**arguments, **architecture})


def _construct(name: str, constructor: type[nn.Module], arguments: dict[str, Any]) -> nn.Module:
    parameters = inspect.signature(constructor).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        for argument in arguments:
            if argument not in parameters:
                raise UserError(
                    f"backbone '{name}' has no architecture argument '{argument}'"
                    f"{did_you_mean(argument, parameters)}; valid: {', '.join(parameters)}"
                )
        absent = [p for p, v in parameters.items() if v.default is v.empty and p not in arguments]
        if absent:
            raise UserError(f"backbone '{name}' needs the architecture argument {', '.join(map(repr, absent))}")
    return constructor(**arguments)


def wrap(net: Backbone, autoencoder: Autoencoder | None = None) -> VelocityModel:
    """A network in the one convention (t = 0 noise, t = 1 data, velocity = data - noise).

    Args:
        net: what `create` returned.
        autoencoder: maps its latents to images; without one, the latents are pixels in [-1, 1].
    """
    from drlbench.backbones.base import PixelRange

    return net.velocity_model(autoencoder if autoencoder is not None else PixelRange())


def load(
    spec: str | Mapping[str, Any],
    device: str = "cpu",
    offline: bool | None = None,
    progress: Callable[[float], None] | None = None,
) -> VelocityModel:
    """A model with its official weights, ready to sample; see `drlbench.backbones.loading.load`."""
    from drlbench.backbones import loading

    return loading.load(spec, device, offline, progress)
