"""Settings of the parts: frozen records that refuse unknown names, values of another type and values out of range."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import PydanticSerializationError, to_json

from drlbench.errors import UserError, did_you_mean, shown


class Settings(BaseModel):
    """Base of every settings record: immutable, strict about names, plain JSON through `model_dump`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True)


S = TypeVar("S", bound=Settings)


def read_settings(record: type[S], values: Mapping[str, Any]) -> S:
    """A record of plain values as JSON has them: '1e-3' and true are no numbers, 1.0 is no whole number.

    Raises:
        ValidationError: they do not fit.
    """
    try:
        text = to_json(dict(values))
    except PydanticSerializationError:  # no plain values: a caller in Python hands objects over
        return record.model_validate(dict(values))
    return record.model_validate_json(text, strict=True)


def faults(record: type[Settings], values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Every mistake in plain values: the setting's name, and what is wrong with the nearest valid name or its value."""
    try:
        read_settings(record, values)
    except ValidationError as error:
        valid = [field.alias or name for name, field in record.model_fields.items()]
        told = set()
        for fault in error.errors(include_url=False):
            first = str(fault["loc"][0]) if fault["loc"] else ""
            if fault["type"] == "extra_forbidden":
                yield first, f"unknown setting '{shown(first)}'{did_you_mean(first, valid)}; valid: {', '.join(valid)}"
            elif not fault["loc"]:  # of several settings together
                yield "", fault["msg"].removeprefix("Value error, ")
            elif first not in told:  # a setting of several types has a fault for each
                told.add(first)
                given = shown(repr(values.get(first, fault["input"])), 80)
                yield first, f"{shown(first)}: {fault['msg'].lower()} (given: {given})"


def parse_settings(record: type[S], values: Mapping[str, Any], where: str) -> S:
    """Check plain values against a record.

    Raises:
        UserError: one line per fault, each naming `where`, the setting, what is wrong and the nearest valid name.
    """
    found = [f"{where}: {text}" for _, text in faults(record, values)]
    if found:
        raise UserError("\n".join(found))
    return read_settings(record, values)
