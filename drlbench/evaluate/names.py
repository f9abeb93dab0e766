"""What an evaluation is asked for by name: metrics, the outputs they need of an encoder, and what is ready to use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drlbench.encoders import make_encoder, named
from drlbench.errors import MissingPrerequisite, UserError, did_you_mean
from drlbench.evaluate.spaces import AT_ONCE, Fitted, encoder_of_run, is_of_run
from drlbench.registry import ENCODERS, METRICS, REWARDS
from drlbench.rewards import make_reward

if TYPE_CHECKING:
    from drlbench.encoders.base import Encoder
    from drlbench.rewards.base import Reward

DEFAULT_STORE = Path(".drlbench")
SFID = "sfid"
ALIASES = {"is": "inception-score", "fid": "fd", "kid": "kd", "fid-infinity": "fd-infinity"}
# Distances that moments of the reference suffice for.
ON_MOMENTS = ("fd", "fd-infinity", SFID)
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


def of_reference(metrics: Sequence[str]) -> list[str]:
    """Those of the metrics that change with the reference."""
    return [m for m in canonical(metrics) if m != "inception-score" and m not in REWARDS.names()]


def named_encoder(space: str) -> tuple[str, dict[str, Any]]:
    """Registered name and settings of a space (`drlbench.encoders.named`); a run's own is its own name.

    Raises:
        UserError: no such encoder.
    """
    return (space, {}) if is_of_run(space) else named(space)


def needed(space: str, metrics: Sequence[str]) -> bool:
    """Whether any of the asked metrics is measured in a space, so that its encoder has to be there at all."""
    on_features = [m for m in canonical(metrics) if m != "stats" and m not in REWARDS.names()]
    if any(metric not in OWN_OUTPUT for metric in on_features) or is_of_run(space):
        return bool(on_features)
    offered = ENCODERS.get(named_encoder(space)[0]).outputs_of_metrics
    return any(metric in offered for metric in on_features)


def encoder_for(
    space: str, metrics: Sequence[str], weights: str | None = None, store: Path = DEFAULT_STORE
) -> Callable[[], Encoder] | Fitted:
    """How to build the encoder of a space, giving what the asked metrics need of it."""
    if is_of_run(space):
        return lambda: encoder_of_run(space, store)
    if space in AT_ONCE:
        return Fitted(space)

    def build() -> Encoder:
        name, settings = named_encoder(space)
        kind: type[Encoder] = ENCODERS.get(name)
        if kind.fitted:
            raise UserError(
                f"'{name}' is fitted by a suite, so it cannot be had by its name alone; take a run's own, RUN:NAME, or "
                f"one of {', '.join(AT_ONCE)}"
            )
        if weights is not None:
            settings["weights"] = weights
        offered = kind.outputs_of_metrics
        further = [offered[metric] for metric in canonical(metrics) if metric in offered]
        try:
            return make_encoder(name, **settings, **_outputs(kind, further))
        except MissingPrerequisite:
            # Weights without a classifier serve every metric but those on logits, which are then reported as failed.
            without = [output for output in further if "logits" not in output]
            if without == further:
                raise
            return make_encoder(name, **settings, **_outputs(kind, without))

    return build


def _outputs(kind: type[Encoder], further: Sequence[str]) -> dict[str, Any]:
    return {"outputs": [*kind.default_outputs, *further]} if further else {}


def reward_for(name: str, weights: str | None = None) -> Callable[[], Reward]:
    """How to build a registered reward."""
    return lambda: make_reward(name, **({} if weights is None else {"weights": weights}))


def paths_of(pairs: Sequence[str], spaces: Sequence[str], metrics: Sequence[str]) -> dict[str, str]:
    """`name=path` pairs as a table; a network's registered name stands for all its spaces (`inception-v3/clean`).

    Raises:
        UserError: not such a pair, or of something that was not asked for.
    """
    found: dict[str, str] = {}
    users: dict[str, list[str]] = {name: [name] for name in metrics}
    for space in spaces:
        users.setdefault(named_encoder(space)[0], []).append(space)
    users |= {space: [space] for space in spaces if space not in users}
    names = list(users)
    for pair in pairs:
        name, equals, path = pair.partition("=")
        if not (equals and path):
            raise UserError(f"'{pair}': give weights as NAME=PATH, for example inception-v3=inception.pth")
        if name not in names:
            raise UserError(
                f"weights of '{name}', which is not asked for{did_you_mean(name, names)}: {', '.join(names)}"
            )
        for user in users[name]:
            if user == name or user not in found:  # a space's own file goes before its network's
                found[user] = path
    return found
