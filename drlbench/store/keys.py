"""The name of a result: sha256 over everything it depends on, in canonical JSON."""

from __future__ import annotations

import hashlib
import json
from typing import Any

ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces; NaN, infinity and anything JSON has no word for are refused."""
    return ENCODER.encode(value)


def stage_key(kind: str, version: int, settings: dict[str, Any], inputs: dict[str, str]) -> str:
    """Key of one stage's result.

    Args:
        kind, version: the stage's name and the version of its code's meaning.
        settings: everything that changes the result; never paths, devices or batch sizes of evaluation.
        inputs: name -> key of the stages it reads.
    """
    content = {"stage": kind, "version": version, "settings": settings, "inputs": inputs}
    return hashlib.sha256(canonical(content).encode()).hexdigest()
