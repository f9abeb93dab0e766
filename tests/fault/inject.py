"""Faults at the n-th write of a process: it is killed there, or the system says no. Every hit leaves a proof."""

from __future__ import annotations

import builtins
import errno
import io
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CALLS = ("fsync", "replace", "rename", "mkdir", "rmdir", "unlink", "open")


@dataclass(frozen=True)
class Fault:
    """What happens at which call.

    Attributes:
        who: "parent", "worker" or "any".
        number: the n-th call that changes something below `within`, counted from 1 in each process.
        act: "kill", "count" (nothing happens, every call is noted) or the name of an error ("ENOSPC").
        proof: a file that is made when it happens; it happens once in all processes together.
        lasting: from that call on every call fails, as on a disk that stays full.
    """

    who: str
    number: int
    act: str
    within: Path
    proof: Path
    lasting: bool = False

    def install(self) -> None:
        """In the process that is about to run: from now on count, and strike."""
        _Injector(self).install()


class _Injector:
    def __init__(self, fault: Fault) -> None:
        self.fault, self.parent = fault, os.getpid()
        self.within = str(fault.within.resolve())
        self.seen: dict[int, int] = {}
        self.struck = False
        self.busy = False

    def install(self) -> None:
        for name in CALLS[:-1]:
            setattr(os, name, self.around(name, getattr(os, name)))
        opener = self.around("open", io.open)
        builtins.open = io.open = opener  # type: ignore[assignment] # stand-ins
        os.open = self.around("open", os.open)  # type: ignore[assignment] # stand-ins

    def around(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if not self.busy and self.concerns(name, args, kwargs):
                self.busy = True
                try:
                    self.strike(name, args, _path(args[0], kwargs.get("dir_fd")))
                finally:
                    self.busy = False
            return real(*args, **kwargs)

        return call

    def concerns(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        me = "parent" if os.getpid() == self.parent else "worker"
        if self.fault.who not in ("any", me) or not args:
            return False
        if name == "open":
            mode = args[1] if len(args) > 1 else kwargs.get("mode", kwargs.get("flags", "r"))
            writes = bool(mode & (os.O_WRONLY | os.O_RDWR)) if isinstance(mode, int) else set(str(mode)) & set("wax+")
            if not writes:
                return False
        return _path(args[0], kwargs.get("dir_fd")).startswith(self.within)

    def strike(self, name: str, args: tuple[Any, ...], path: str) -> None:
        fault, me = self.fault, os.getpid()
        self.seen[me] = self.seen.get(me, 0) + 1
        what = f"{'parent' if me == self.parent else 'worker'} {self.seen[me]} {name} {path}\n"
        if fault.act == "count":
            _note(fault.proof, what, os.O_APPEND)
            return
        if self.struck and fault.lasting:
            raise OSError(getattr(errno, fault.act), os.strerror(getattr(errno, fault.act)), path)
        if self.struck or self.seen[me] != fault.number:
            return
        try:
            _note(fault.proof, what, os.O_EXCL)
        except FileExistsError:
            return
        self.struck = True
        if fault.act == "kill":
            os.kill(me, signal.SIGKILL)
        raise OSError(getattr(errno, fault.act), os.strerror(getattr(errno, fault.act)), path)


_raw_open, _raw_write, _raw_close = os.open, os.write, os.close


def _note(path: Path, text: str, flag: int) -> None:
    file = _raw_open(path, os.O_CREAT | os.O_WRONLY | flag, 0o644)
    _raw_write(file, text.encode())
    _raw_close(file)


def _path(what: Any, dir_fd: int | None) -> str:
    """The path that a call means, by descriptor, by name, or by both."""
    try:
        if isinstance(what, int):
            return os.readlink(f"/proc/self/fd/{what}")
        name = os.fsdecode(what)
        if not os.path.isabs(name):
            name = os.path.join(os.readlink(f"/proc/self/fd/{dir_fd}") if dir_fd is not None else os.getcwd(), name)
        return os.path.normpath(name)
    except (OSError, TypeError):
        return ""
