"""Settings of the parts: frozen records that refuse unknown names and values out of range."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from drlbench.errors import UserError, did_you_mean


class Settings(BaseModel):
    """Base of every settings record: immutable, strict about names, plain JSON through `model_dump`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


S = TypeVar("S", bound=Settings)


def parse_settings(record: type[S], values: Mapping[str, Any], where: str) -> S:
    """Check plain values against a record.

    Raises:
        UserError: one line per fault, each naming `where`, the setting, what is wrong and the nearest valid name.
    """
    try:
        return record.model_validate(dict(values))
    except ValidationError as error:
        lines = []
        for fault in error.errors():
            name = ".".join(str(part) for part in fault["loc"])
            if fault["type"] == "extra_forbidden":
                valid = list(record.model_fields)
                lines.append(f"{where}: unknown setting '{name}'{did_you_mean(name, valid)}; valid: {', '.join(valid)}")
            else:
                lines.append(f"{where}: {name}: {fault['msg'].lower()} (given: {fault['input']!r})")
        raise UserError("\n".join(lines)) from error
