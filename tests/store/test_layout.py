"""One owner a run folder; the store counts and sweeps what it holds."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from drlbench.errors import Locked
from drlbench.store import atomic
from drlbench.store.garbage import collect_garbage
from drlbench.store.layout import Store, run_lock

HOLD = """
import sys, time
from pathlib import Path
from drlbench.store.layout import run_lock
with run_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_told_who_holds_the_run(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(Locked, match=rf"process {holder.pid} on .* since 20") as caught, run_lock(tmp_path):
            pass
        assert caught.value.exit_code == 4
    finally:
        holder.kill()
        holder.wait()
    time.sleep(0.1)
    with run_lock(tmp_path):  # a dead owner holds nothing
        pass


def test_garbage_is_what_nobody_keeps(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for key in ("aa" + "0" * 62, "bb" + "0" * 62):
        with atomic.artefact(store.folder("encoder", key), {"key": key}) as out:
            (out / "data").write_bytes(b"1234")
    assert "2 results" in store.usage()
    assert "1 results deleted" in collect_garbage(store, {"aa" + "0" * 62})
    assert [f.name[:2] for _, f in store.entries()] == ["aa"]
    assert not store.folder("encoder", "bb" + "0" * 62).exists()
