"""The entry point: signals are heard before anything large is imported."""

from __future__ import annotations

import sys
from typing import NoReturn

from drlbench.run import signals


def main() -> NoReturn:
    """Run the command line; a signal ends it with one sentence and 128 + its number."""
    signals.listen()
    try:
        from drlbench.cli.main import main as command_line

        command_line()
    except signals.Interrupted as stop:
        _leave(stop)
    except Exception:
        # A library that was interrupted in the middle of its import tells of anything but that.
        if (stopped := signals.stopped()) is not None:
            _leave(stopped)
        raise


def _leave(stop: signals.Interrupted) -> NoReturn:
    signals.kill_children()
    signals.tell()
    sys.exit(stop.code)


if __name__ == "__main__":
    main()
