"""What a registered kind takes: its own record of settings, or the arguments of its constructor."""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, create_model
from pydantic.errors import PydanticSchemaGenerationError

from drlbench.errors import did_you_mean, shown
from drlbench.registry import ALGORITHMS, Registry
from drlbench.settings import Settings, faults, read_settings
from drlbench.suite.parts import EncoderSpec, RewardSpec

MAX_SETTING = 1_000_000_000
"""Largest whole number a setting may be, seeds apart: beyond it no machine makes, keeps or counts anything."""

GIVEN = {"name", *EncoderSpec.model_fields, *RewardSpec.model_fields}
"""What a suite says beside a kind's settings, which the stages hand over themselves."""


class _Open(Settings):
    """Of a constructor that takes any keyword."""

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)


def record_of(registry: Registry, kind: str) -> type[Settings]:
    """The record of settings of a registered kind; without one, what its constructor's signature says.

    Raises:
        UserError: it is not registered, or a plug-in does not load.
    """
    found = registry.get(kind)
    own: type[Settings] | None = getattr(found, "Record", None)
    if own is None and registry is ALGORITHMS:
        return _Open  # an algorithm gets its settings as one mapping and checks them itself
    return own if own is not None else _record_of_constructor(found)


@cache
def _record_of_constructor(found: Any) -> type[Settings]:
    fields: dict[str, Any] = {}
    base: type[Settings] = Settings
    hints = _hints(found)
    said = meanings(found.__init__ if inspect.isclass(found) else found)
    for name, parameter in inspect.signature(found).parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            base = _Open
        elif name not in GIVEN and parameter.kind is not parameter.VAR_POSITIONAL:
            default = ... if parameter.default is parameter.empty else parameter.default
            fields[name] = (hints.get(name, Any), Field(default, description=said.get(name)))
    made: type[Settings] = create_model(f"{found.__name__}Arguments", __base__=base, **fields)
    return made


def meanings(found: Any) -> dict[str, str]:
    """What a docstring's `Args:` or `Attributes:` says of each name, on one line."""
    told: dict[str, str] = {}
    head = re.search(r"^(?:Args|Attributes):\n", doc := inspect.getdoc(found) or "", re.M)
    names: list[str] = []
    for line in doc[head.end() :].splitlines() if head else []:
        if line and not line.startswith(" "):
            break
        start = re.fullmatch(r"    ([a-z_0-9]+(?:, [a-z_0-9]+)*): (.*)", line)
        if start:
            names = start[1].split(", ")
            told |= dict.fromkeys(names, start[2])
        elif line.strip():
            told |= {name: f"{told[name]} {line.strip()}" for name in names}
    return {name: text.rstrip(".") for name, text in told.items()}


def _hints(found: Any) -> dict[str, Any]:
    """Annotations that plain values can be checked against."""
    try:
        hints = get_type_hints(found.__init__ if inspect.isclass(found) else found)
    except (NameError, TypeError):  # names that are there for type checkers only
        return {}
    plain = {}
    for name, hint in hints.items():
        try:
            TypeAdapter(hint)
        except PydanticSchemaGenerationError:
            continue
        plain[name] = hint
    return plain


def setting_faults(registry: Registry, kind: str, settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Every mistake in a kind's settings: the setting ("" for several together) and what is wrong."""
    yield from record_faults(record_of(registry, kind), settings)
    presets = getattr(sys.modules.get(registry.get(kind).__module__), "PRESETS", None)
    preset = settings.get("preset")
    if presets is not None and isinstance(preset, str) and preset not in presets:
        near = did_you_mean(preset, presets)
        yield "preset", f"unknown preset '{shown(preset)}'{near}; valid: {', '.join(presets)}"


def record_faults(record: type[Settings], settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """As `setting_faults`, of a record."""
    yield from faults(record, settings)
    for name, value in settings.items():
        if isinstance(value, int) and abs(value) > MAX_SETTING and "seed" not in name:
            yield name, f"{name}: {value} is beyond {MAX_SETTING:,}, which no setting can be"


def in_full(registry: Registry, kind: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Every setting of a registered kind, as plain JSON; `given` ones are valid.

    A kind without a record of its settings has those of its constructor's defaults that JSON has a word for.
    """
    found = registry.get(kind)
    if getattr(found, "Record", None) is not None:
        return record_in_full(found.Record, given)
    if registry is ALGORITHMS:
        return dict(given)
    defaults = {n: p.default for n, p in inspect.signature(found).parameters.items() if _is_plain(p.default)}
    return {**defaults, **given}


def record_in_full(record: type[Settings], given: Mapping[str, Any]) -> dict[str, Any]:
    """As `in_full`, of a record."""
    dumped: dict[str, Any] = read_settings(record, given).model_dump(mode="json", by_alias=True)
    # The reward's weight is the run's to give.
    return {name: value for name, value in dumped.items() if name != "lambda" or name in given}


def filled(registry: Registry, spec: Any) -> Any:
    """An encoder's, reward's or algorithm's spec with every setting written out."""
    kind: type[BaseModel] = type(spec)
    reserved = {"name", *kind.model_fields}  # the stages give these themselves
    settings = in_full(registry, spec.kind, spec.settings)
    return spec.model_copy(update={n: v for n, v in settings.items() if n not in reserved})


def _is_plain(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True
