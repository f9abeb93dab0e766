"""Settings of the parts: frozen records that refuse unknown names and values out of range."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from drlbench.errors import UserError, did_you_mean


class Settings(BaseModel):
    """Base of every settings record: immutable, strict about names, plain JSON through `model_dump`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True)


S = TypeVar("S", bound=Settings)


def faults(record: type[Settings], values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Every mistake in plain values: the setting's name, and what is wrong with the nearest valid name or its value."""
    try:
        record.model_validate(dict(values))
    except ValidationError as error:
        valid = [field.alias or name for name, field in record.model_fields.items()]
        for fault in error.errors():
            name = ".".join(str(part) for part in fault["loc"])
            if fault["type"] == "extra_forbidden":
                yield name, f"unknown setting '{name}'{did_you_mean(name, valid)}; valid: {', '.join(valid)}"
            elif not fault["loc"]:  # of several settings together
                yield name, fault["msg"].removeprefix("Value error, ")
            else:
                yield name, f"{name}: {fault['msg'].lower()} (given: {fault['input']!r})"


def parse_settings(record: type[S], values: Mapping[str, Any], where: str) -> S:
    """Check plain values against a record.

    Raises:
        UserError: one line per fault, each naming `where`, the setting, what is wrong and the nearest valid name.
    """
    found = [f"{where}: {text}" for _, text in faults(record, values)]
    if found:
        raise UserError("\n".join(found))
    return record.model_validate(dict(values))
