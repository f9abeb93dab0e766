"""Files of JSON with a fixed shape: written whole, read strictly. Another shape is damage and told by the file's name.

A sealed record carries the sha256 of itself, so that a changed byte is seen where nothing else vouches for the file.
"""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic_core import from_json

from drlbench.errors import IntegrityError
from drlbench.store.keys import canonical

T = TypeVar("T")
S = TypeVar("S", bound="Sealed")


class Record(BaseModel):
    """Base of all records: no key too many, no number for a string, no NaN."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class Sealed(Record):
    """A record with its own checksum; None in files of versions before seals."""

    seal: str | None = None


@lru_cache(64)
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def parse(content: bytes, kind: type[T], source: Path | str) -> T:
    """JSON of a fixed shape.

    Args:
        kind: a `Record`, or any type pydantic knows (`list[Row]`, `dict[str, float]`).
        source: the file, for the message.

    Raises:
        IntegrityError: not JSON, not UTF-8, or of another shape.
    """
    try:
        from_json(content, allow_inf_nan=False)
        shape: Any = kind  # mypy takes no type for hashable
        value: T = _adapter(shape).validate_json(content, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        at = ".".join(str(part) for part in first["loc"])
        raise IntegrityError(
            f"{source}: is not what drlbench writes there ({at + ': ' if at else ''}{first['msg']})"
        ) from None
    except ValueError as error:
        raise IntegrityError(f"{source}: is not JSON ({error})") from None
    return value


def read(path: Path, kind: type[T]) -> T:
    """`parse` of a file.

    Raises:
        IntegrityError: it is missing, cannot be read, or is of another shape.
    """
    return parse(_content(path), kind, path)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise IntegrityError(f"{path}: missing") from None
    except OSError as error:
        raise IntegrityError(f"{path}: cannot be read ({error.strerror})") from error


def to_text(value: Any) -> str:
    """JSON with sorted keys; NaN and infinity are refused because JSON has no word for them."""
    return json.dumps(value, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"


def sealed(content: dict[str, Any]) -> str:
    """The text of a sealed record."""
    return to_text({**content, "seal": _seal(content)})


def read_sealed(path: Path, kind: type[S]) -> S:
    """Read a sealed record and compare it with its seal, byte for byte.

    Raises:
        IntegrityError: missing, of another shape, or changed since it was written.
    """
    content = _content(path)
    record = parse(content, kind, path)
    if record.seal is not None:
        raw = json.loads(content)
        given = raw.pop("seal")
        try:
            whole = given == _seal(raw) and sealed(raw).encode() == content
        except ValueError:
            whole = False
        if not whole:
            raise IntegrityError(f"{path}: does not match its own checksum")
    return record


def _seal(content: dict[str, Any]) -> str:
    return hashlib.sha256(canonical(content).encode()).hexdigest()
