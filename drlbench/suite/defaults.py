"""A suite in full: what its file says, and the kinds' own defaults for the rest.

Stage keys are made of these settings, so that a default that changes from one version to the next is another key, and
a default written out is the same one.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel

from drlbench.registry import ALGORITHMS, ENCODERS, REWARDS, Registry
from drlbench.settings import Settings, parse_settings
from drlbench.suite.schema import AlgorithmSpec, BackboneSpec, EncoderSpec, RewardSpec, SuiteSpec

Open = TypeVar("Open", EncoderSpec, RewardSpec, AlgorithmSpec)


def in_full(spec: SuiteSpec) -> SuiteSpec:
    """The same suite with every setting of its encoders, rewards, algorithms and bases written out.

    An algorithm that takes the paper's preset is left as it is, since the preset depends on the backbone.

    Raises:
        UserError: an unknown setting or a value out of range, and in which part of the suite.
    """
    filled: dict[str, dict[str, Any]] = {
        "encoders": {n: _open(ENCODERS, e, f"encoders.{n}") for n, e in spec.encoders.items()},
        "rewards": {n: _open(REWARDS, r, f"rewards.{n}") for n, r in spec.rewards.items()},
        "algorithms": {
            n: a if a.preset else _open(ALGORITHMS, a, f"algorithms.{n}") for n, a in spec.algorithms.items()
        },
        "backbones": {n: _backbone(b, f"backbones.{n}") for n, b in spec.backbones.items()},
    }
    return spec.model_copy(update=filled)


def settings_in_full(registry: Registry, kind: str, given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Every setting of a registered kind, as plain JSON.

    A kind without a record of its settings has those of its constructor's defaults that JSON has a word for.
    """
    found = registry.get(kind)
    record: type[Settings] | None = getattr(found, "Record", None)
    if record is not None:
        return _of_record(record, given, where)
    defaults = {n: p.default for n, p in inspect.signature(found).parameters.items() if _is_plain(p.default)}
    return {**defaults, **given}


def _of_record(record: type[Settings], given: Mapping[str, Any], where: str) -> dict[str, Any]:
    dumped: dict[str, Any] = parse_settings(record, given, where).model_dump(mode="json", by_alias=True)
    # The reward's weight is the run's to give.
    return {name: value for name, value in dumped.items() if name != "lambda" or name in given}


def _is_plain(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True


def _open(registry: Registry, spec: Open, where: str) -> Open:
    settings = settings_in_full(registry, spec.kind, spec.settings, where)
    kind: type[BaseModel] = type(spec)
    reserved = {"name", *kind.model_fields}  # the pipeline gives these itself
    return spec.model_copy(update={n: v for n, v in settings.items() if n not in reserved})


def _backbone(spec: BackboneSpec, where: str) -> BackboneSpec:
    """`pretrain` and `latent` of a model that is trained here."""
    from drlbench.backbones.pretrain import PretrainSettings
    from drlbench.backbones.small_rae import LatentSettings

    filled: dict[str, Any] = {}
    if spec.pretrain is not None:
        filled["pretrain"] = _of_record(PretrainSettings, spec.pretrain, f"{where}.pretrain")
    if spec.latent is not None:
        settings = _of_record(LatentSettings, spec.latent.settings, f"{where}.latent")
        filled["latent"] = spec.latent.model_copy(update=settings)
    return spec.model_copy(update=filled)
