"""What an evaluation is asked for by name: metrics, the outputs they need of an encoder, and what is ready to use."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from drlbench.errors import UserError, did_you_mean
from drlbench.registry import ENCODERS, METRICS, REWARDS, Registry

if TYPE_CHECKING:
    from drlbench.encoders.base import Encoder

SFID = "sfid"
ALIASES = {"is": "inception-score", "fid": "fd", "kid": "kd"}
# Metrics that are measured in one output of an encoder only, which in turn is for no other metric.
OWN_OUTPUT = {"inception-score": "logits_unbiased", SFID: "spatial"}


def canonical(metrics: Sequence[str]) -> list[str]:
    """Registered names of metrics and rewards, each once.

    Raises:
        UserError: no such name, or none at all.
    """
    known = [*METRICS.names(), SFID, *REWARDS.names()]
    found = list(dict.fromkeys(ALIASES.get(name, name) for name in metrics))
    for name in found:
        if name not in known:
            raise UserError(f"unknown metric '{name}'{did_you_mean(name, known)}; valid: {', '.join(known)}")
    if not found:
        raise UserError(f"no metric asked for; valid: {', '.join(known)}")
    return found


def spaces_for(metric: str, metrics: Sequence[str], spaces: Sequence[str]) -> list[str]:
    """The spaces that one of the asked metrics is measured in."""
    if metric in OWN_OUTPUT:
        return [space for space in spaces if space.endswith(f"/{OWN_OUTPUT[metric]}")]
    taken = ["/logits_unbiased", *(f"/{OWN_OUTPUT[m]}" for m in OWN_OUTPUT if m in metrics)]
    return [space for space in spaces if not space.endswith(tuple(taken))]


def ready_made(registry: Registry, name: str) -> Any:
    """A registered encoder or reward with its defaults.

    Raises:
        UserError: it has to be fitted by a suite first.
    """
    return _kind(registry, name)()


def encoder_for(name: str, metrics: Sequence[str]) -> Callable[[], Encoder]:
    """How to build a registered encoder with its defaults, giving what the asked metrics need of it."""

    def build() -> Encoder:
        kind = _kind(ENCODERS, name)
        offered: Mapping[str, str] = getattr(kind, "outputs_of_metrics", {})
        further = [offered[metric] for metric in canonical(metrics) if metric in offered]
        encoder: Encoder = kind(outputs=[*kind.default_outputs, *further]) if further else kind()
        return encoder.freeze()

    return build


def _kind(registry: Registry, name: str) -> Any:
    kind = registry.get(name)
    if any(p.default is p.empty and p.kind < p.VAR_POSITIONAL for p in inspect.signature(kind).parameters.values()):
        raise UserError(f"'{name}' is fitted by a suite, so it cannot be had by its name alone; see `drlbench run`")
    return kind
