"""A signal that comes when everything is done changes nothing."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from drlbench.run.signals import STOPS

LATE = """
import os, sys
from drlbench.run import signals

signals.listen()

class Last:
    def __del__(self):  # while Python takes its modules apart
        os.kill(os.getpid(), {number})
        os.write(1, b"sent")

last = Last()
sys.exit(3)
"""


@pytest.mark.parametrize("stop", STOPS, ids=lambda stop: signal.Signals(stop).name)
def test_a_signal_at_the_very_end_leaves_the_exit_code(stop: signal.Signals) -> None:
    done = subprocess.run([sys.executable, "-c", LATE.format(number=int(stop))], capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (3, b"sent"), done.stderr
