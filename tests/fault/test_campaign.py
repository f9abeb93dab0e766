"""`make faults` in short: every row happens at least once, and nothing is lost."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CAMPAIGN = Path(__file__).with_name("campaign.py")
QUICK = [
    "kill-any-instant", "kill-worker-writes", "two-runs", "stale-pictures", "flip-store", "flip-folder",
    "edited-results", "swapped-folders", "past-versions", "a-cell-diverges", "no-room-at-writes",
]  # fmt: skip


def attacked(*words: str) -> None:
    done = subprocess.run(
        [sys.executable, CAMPAIGN, "--short", *words], capture_output=True, text=True, check=False, timeout=900
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="proofs are read from /proc")
def test_nothing_is_lost_in_a_few_attacks() -> None:
    attacked("--rows", ",".join(QUICK))


@pytest.mark.long
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="proofs are read from /proc")
@pytest.mark.timeout(1000)
def test_nothing_is_lost_in_any_attack() -> None:
    attacked()
