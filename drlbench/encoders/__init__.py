"""Frozen representations: fitted here or published. No reward, metric or backbone is known here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drlbench.errors import UserError
from drlbench.registry import ENCODERS, build

if TYPE_CHECKING:
    from drlbench.encoders.base import Encoder

__all__ = ["make_encoder", "named"]


def make_encoder(name: str, **settings: Any) -> Encoder:
    """A frozen encoder: images (B, C, H, W) float32 in [0, 1] -> features (B, D) float32, differentiable.

    Args:
        name: as in a suite or after `eval --spaces`: `inception-v3`, `inception-v3/clean`, `open-nsfw/64`,
            `efficientnet-lite/lite0/64`, or a preset such as `dinov2-vitl14/224/bicubic-8bit/cls@1`.
        settings: as in a suite, over those that the name says; `weights` is a path for most.

    Returns:
        the encoder, with its `dim` D and the `signature` that names its weights.

    Raises:
        UserError: no such encoder or setting, or one that is fitted on a run's own images.
        MissingPrerequisite: its weights are not here; the message says how they are got.
    """
    registered, said = named(name)
    kind: type[Encoder] = ENCODERS.get(registered)
    if kind.fitted:
        raise UserError(f"encoder '{registered}' is fitted by a suite, so it cannot be had by its name alone")
    encoder: Encoder = build(kind, f"encoder '{registered}'", {**said, **settings})
    return encoder.freeze()


def named(space: str) -> tuple[str, dict[str, Any]]:
    """Registered name and settings of a space: `inception-v3`, `inception-v3/clean`, `dinov2-vitl14/224/…` (a preset).

    Raises:
        UserError: no such encoder.
    """
    network, _, rest = space.partition("/")
    family = network.partition("-")[0]
    if rest and network in ENCODERS.names():
        kind: type[Encoder] = ENCODERS.get(network)
        return network, kind.of_space(rest)
    if rest and family in ENCODERS.names():
        return family, {"preset": space}
    ENCODERS.target(space)
    return space, {}
