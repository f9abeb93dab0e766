"""How a suite's keys are declared: strict values, safe names, and for each key its meaning, unit and an example."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import PydanticUndefined

# Names become parts of cell ids, of file names and of columns, so that they are safe in all of them.
# Pictures write the / of a cell's id as --, so that no name holds that.
NAME = r"^[A-Za-z0-9](-?[A-Za-z0-9._+@])*-?$"
MAX_IMAGES = 10_000_000  # of one sample set: at 256 pixels 2 TB
MAX_STEPS = 100_000  # of one sampling or SDE
MAX_UPDATES = 10_000_000
MAX_SEED = 2**32 - 1

Name = Annotated[str, Field(pattern=NAME, max_length=80)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Images = Annotated[int, Field(gt=1, le=MAX_IMAGES)]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
Seeds = Annotated[list[Seed], Field(min_length=1)]


def key(default: Any = PydanticUndefined, *, about: str, example: Any, unit: str = "", **rules: Any) -> Any:
    """One key: `about` says what it means, `unit` what it is counted in; without a `default` it is required."""
    extra: Any = {"unit": unit} if unit else None
    return Field(default, description=about, examples=[example], json_schema_extra=extra, **rules)


class Spec(BaseModel):
    """Strict (a quoted number is a string, not a number), frozen, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True, defer_build=True)


class OpenSpec(Spec):
    """A spec whose other keys are settings of its `kind`, checked against that kind's own record."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True, populate_by_name=True, defer_build=True)

    @property
    def settings(self) -> dict[str, Any]:
        """The keys that belong to the kind."""
        return dict(self.model_extra or {})
