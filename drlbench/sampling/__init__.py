"""Samplers: the harness's own over a velocity model, each backbone's official procedure. Nothing is trained here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from drlbench.sampling.official import official_sample, to_uint8_official

__all__ = ["official_sample", "to_uint8_official"]


def __getattr__(name: str) -> Any:
    # On use only: `drlbench.flow.memoryless` should not bring every sampler with it.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from drlbench.sampling import official

    return getattr(official, name)
