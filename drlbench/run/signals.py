"""SIGINT, SIGTERM and SIGHUP: once, a run writes down what it has and ends; twice, it ends at once. No orphans.

The first signal raises `Interrupted` in the main thread. Python runs handlers only between its own instructions, so a
second thread listens too: it ends the process when the main thread is stuck for longer than `PATIENCE`.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PATIENCE = 8.0  # seconds from the first signal to the end, whatever the main thread does

_first: int | None = None
_sentence: str | None = "interrupted"
_deferred = False


class Interrupted(BaseException):
    """A signal asked the process to stop; `code` is the exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code

    @property
    def name(self) -> str:
        return signal.Signals(self.code - 128).name


def listen() -> None:
    """From now on signals end this process as this module says; called first thing, from the main thread."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for stop in STOPS:
        if stop != signal.SIGHUP or signal.getsignal(stop) is not signal.SIG_IGN:  # nohup stays what it is
            signal.signal(stop, _handle)
    threading.Thread(target=_watch, args=(reader,), name="signals", daemon=True).start()
    atexit.register(_ignore)  # the first one registered is the last one run: everything is written by then


def stopped() -> Interrupted | None:
    """What stops this process, if a signal has: libraries may have swallowed the exception, or made it another one."""
    return Interrupted(128 + _first) if _first is not None else None


def promise(sentence: str) -> None:
    """What `tell` will say."""
    global _sentence
    if _sentence is not None:
        _sentence = sentence


def tell() -> None:
    """Say once that this process was interrupted, and how it goes on."""
    global _sentence
    if _sentence is not None:
        said, _sentence = _sentence, None
        with contextlib.suppress(OSError):
            os.write(2, f"drlbench: {said}\n".encode())


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Signals wait until the block is done; processes started in it hear none until they unblock them."""
    global _deferred
    _deferred = True
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
        _deferred = False
    if (stop := stopped()) is not None:
        raise stop


def kill_children() -> None:
    """End every process that this one has started, and theirs; multiprocessing's own janitor ends by itself."""
    import psutil

    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if not any("resource_tracker" in word for word in child.cmdline()):
                child.kill()


def _ignore() -> None:
    """Python gives signals back to the system before it takes its modules apart, and dies of one that comes then."""
    for stop in STOPS:
        signal.signal(stop, signal.SIG_IGN)


def _handle(number: int, frame: FrameType | None) -> None:
    global _first
    if _first is None:
        _first = number
        if not _deferred:
            raise Interrupted(128 + number)


def _watch(reader: int) -> None:
    """The second signal, or the end of patience: kill what was started, say so, and end."""
    number = _next_stop(reader)
    ends = time.monotonic() + PATIENCE

    def patience() -> None:
        time.sleep(max(0.0, ends - time.monotonic()))
        _end(number)

    threading.Thread(target=patience, daemon=True).start()
    _end(_next_stop(reader))


def _next_stop(reader: int) -> int:
    while True:
        number = os.read(reader, 1)[0]
        if number in STOPS:
            return number


def _end(number: int) -> None:
    kill_children()
    tell()
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    os._exit(128 + number)
