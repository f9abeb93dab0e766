"""One owner a lease; dead ones are taken over, live ones and those of living machines are not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from drlbench.store import lease

HOLD = """
import sys, time
from pathlib import Path
from drlbench.store import lease
lease.acquire(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def elsewhere(path: Path) -> None:
    """Make a lease one of another machine."""
    owner = lease.read_owner(path)
    assert owner is not None
    path.write_text(owner.model_copy(update={"place": "another machine"}).model_dump_json())


def test_a_live_owner_keeps_it_and_a_killed_one_loses_it(tmp_path: Path) -> None:
    path = tmp_path / "key"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    with pytest.raises(lease.Held, match=f"process {holder.pid} on"):
        lease.acquire(path)
    holder.send_signal(signal.SIGKILL)
    assert holder.wait() == -signal.SIGKILL
    taken = lease.acquire(path)
    assert taken.previous is not None and taken.previous.pid == holder.pid
    taken.release()
    assert list(tmp_path.iterdir()) == []


def test_another_machine_is_judged_by_its_touches_alone(tmp_path: Path) -> None:
    path = tmp_path / "key"
    lease.acquire(path)
    elsewhere(path)
    with pytest.raises(lease.Held):
        lease.acquire(path)
    old = path.stat().st_mtime - lease.STALE - 1
    os.utime(path, (old, old))
    assert lease.acquire(path).previous is not None


def test_an_owner_that_was_away_notices_that_it_lost(tmp_path: Path) -> None:
    mine = lease.acquire(tmp_path / "key")
    elsewhere(tmp_path / "key")
    os.utime(tmp_path / "key", (0, 0))
    other = lease.acquire(tmp_path / "key")
    mine.beat()
    assert mine.lost and not other.lost
    mine.release()
    assert lease.read_owner(tmp_path / "key") == other.owner


def test_a_lease_that_names_nobody_is_waited_out_and_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that was full when an owner wrote its name leaves one; the next run was once told of another process."""
    monkeypatch.setattr(lease, "GRACE", 0.3)
    path = tmp_path / "key"
    path.touch()
    taken = lease.acquire(path)
    assert taken.previous is None
    assert lease.read_owner(path) == taken.owner


@pytest.mark.parametrize("taken_again", [False, True])
def test_an_owner_that_gave_it_up_before_it_died_takes_no_younger_lease_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken_again: bool
) -> None:
    """Between reading a lease and finding its process gone its owner had removed it: eight pairs of runs in a hundred
    ended in a traceback, and a lease that a third process had taken meanwhile would have been deleted."""
    path = tmp_path / "key"
    first = lease.acquire(path)
    lives, younger = lease.lives, []

    def gone(at: Path, owner: lease.Owner) -> bool:
        if younger or owner.token != first.owner.token:
            return lives(at, owner)
        first.release()
        younger.append(lease.acquire(path) if taken_again else None)
        return False

    monkeypatch.setattr(lease, "lives", gone)
    if taken_again:
        with pytest.raises(lease.Held):
            lease.acquire(path)
        owner = lease.read_owner(path)
        assert owner is not None and owner.token == younger[0].owner.token
        younger[0].release()
    else:
        lease.acquire(path).release()
    assert not path.exists()
