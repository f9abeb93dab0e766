"""The bars of a run in a terminal of 80 columns."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

from rich.cells import cell_len

SCRIPT = """
import sys
from pathlib import Path
from drlbench.plan.node import Node
from drlbench.run.executors.base import Outcome
from drlbench.run.progress import Watcher

names = ["finetune a-backbone-with-a-long-name/base+prl/lambda=1.5/seed=0.0 round 2", "encoder dae", "評価 " * 20]
nodes = [Node(c * 64, "base", 1, {}, {}, n) for c, n in zip("abc", names)]
status = sys.argv[2]
with Watcher(nodes, 2, Path(sys.argv[1]) / "events.jsonl", {n.key: 40000.0 for n in nodes}) as watcher:
    for node in nodes:
        watcher("start", node, None)
        watcher("progress", node, 0.4)
    watcher.bar.refresh()
    for node in nodes:
        watcher("end", node, Outcome(status, error="no disk" if status == "failed" else "", seconds=36000.0))
        watcher.bar.refresh()
    watcher.reporting()
    watcher.reported()
"""
BAR = re.compile(r"^(?P<label>.*?) +[━╸╺]+ +(?P<share>\d+)% (?P<clock>\d+:\d\d:\d\d) ?(?P<left>.*)$")


def frames(folder: Path, status: str) -> list[str]:
    """Every line that such a run writes to a terminal of 80 columns, without its escape sequences."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    command = [sys.executable, "-c", SCRIPT, str(folder), status]
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR")}
    process = subprocess.Popen(command, stdout=theirs, stderr=theirs, env={**environment, "TERM": "xterm-256color"})
    os.close(theirs)
    written = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # how Linux says that the other side is closed
            break
        if not piece:
            break
        written += piece
    os.close(ours)
    assert process.wait() == 0, written.decode()
    return re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written.decode()))


def test_a_long_label_never_clips_the_clock(tmp_path: Path) -> None:
    lines = [line for line in frames(tmp_path, "made") if "━" in line]
    found = [BAR.match(line.rstrip()) for line in lines]
    assert all(found), [line for line, match in zip(lines, found, strict=True) if match is None]
    assert max(cell_len(line) for line in lines) <= 80
    shown = {match["label"][:8]: match["label"] for match in found if match}
    assert shown["finetune"].endswith("…") and shown["encoder "] == "encoder dae"
    assert any(re.fullmatch(r"about \d:\d\d:\d\d left", match["left"].strip()) for match in found if match)
    assert found[-1] and found[-1]["share"] == "100"


def test_a_run_that_failed_everywhere_does_not_end_at_100(tmp_path: Path) -> None:
    shares = [int(match["share"]) for line in frames(tmp_path, "failed") if (match := BAR.match(line.rstrip()))]
    assert shares and max(shares) < 100 and shares[-1] == 25, "the page is all that was made"
