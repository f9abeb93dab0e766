"""Every error a user can cause, each with the exit code the command line ends with.

An error that is not one of these is a fault of drlbench itself and is shown with its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake the user can mend: says what is wrong, where, and what would be right."""

    exit_code: int = 2


class CellsFailed(UserError):
    """Some cells of a run failed; the others are finished and reported."""

    exit_code = 1


class Diverged(UserError):
    """A tensor is not finite; the message names the step and the tensor. Nothing was learnt from it."""

    exit_code = 1


class Locked(UserError):
    """Another process owns the run's folder."""

    exit_code = 4


class IntegrityError(UserError):
    """A stored artefact does not match its checksum or its key."""

    exit_code = 5


class MissingPrerequisite(UserError):
    """Weights, data, disk or memory are missing; the message names the command that gets them."""

    exit_code = 6


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` for the nearest valid name, or an empty string."""
    near = difflib.get_close_matches(name[:80], list(valid), n=2, cutoff=0.5)
    return f" (did you mean {' or '.join(repr(n) for n in near)}?)" if near else ""


def readable(text: str) -> str:
    """Text that UTF-8 can hold: a file name's bytes that the locale did not know are read as UTF-8, or escaped."""
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()


def for_terminal(text: object) -> str:
    """A message of several lines for a terminal: each line as `shown`, none cut."""
    return "\n".join(shown(line, 100_000) for line in str(text).split("\n"))


def shown(text: object, limit: int = 200) -> str:
    """Text of foreign origin as messages show it: what a terminal would act upon is escaped, what is long is cut.

    Control characters, escape sequences, line ends and marks of direction never reach a terminal through it.
    """
    plain = readable(str(text))
    cut = plain if len(plain) <= limit else plain[: limit - 3] + "..."
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)
