"""Networks without their weights: inside, constructors of published networks look for no file and read none.

For whoever wants to know what a network would do, and has it on no disk.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_wanted: ContextVar[bool] = ContextVar("skeletons", default=False)


@contextmanager
def skeletons() -> Iterator[None]:
    """Inside, a network's constructor gives its shapes only; build on the meta device."""
    token = _wanted.set(True)
    try:
        yield
    finally:
        _wanted.reset(token)


def skeleton() -> bool:
    """Whether a constructor is to do without weights."""
    return _wanted.get()
