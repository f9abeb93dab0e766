"""SIGKILL at any instant, run again: the same results.csv, byte for byte. SIGTERM: a clean flush and exit code 143."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from drlbench.cli import main as cli
from drlbench.cli.main import app

SUITE = Path(__file__).with_name("tiny.yaml")
PRINTED = ("results.csv", "table.csv", "frontier.csv")


def start(folder: Path, store: str, out: str, suite: Path = SUITE) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "drlbench", "run", str(suite), "--store", store, "--out", out]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    return out


def digest(folder: Path) -> dict[str, str]:
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in PRINTED}


def leftovers(folder: Path) -> list[str]:
    return [str(p) for p in folder.rglob("*") if p.name.endswith(".tmp") or p.name in (".owner.json", ".lock")]


def ended(events: Path) -> int:
    return events.read_text().count('"event": "end"') if events.is_file() else 0


def run_here(folder: Path, store: str, out: str, suite: Path) -> None:
    """In this process, stage after stage."""
    done = CliRunner().invoke(app, ["run", str(suite), "--store", str(folder / store), "--out", str(folder / out)])
    assert done.exit_code == 0, done.output


def kill_and_resume(tmp_path: Path, suite: Path, after: list[int]) -> None:
    """Kill when so many further stages have ended, each time; a process that was not alive then fails the test."""
    run_here(tmp_path, "clean-store", "clean", suite)
    events = tmp_path / "killed" / "events.jsonl"
    for count in after:
        already = ended(events)
        process = start(tmp_path, "store", "killed", suite)
        deadline = time.monotonic() + 300
        while ended(events) < already + count and time.monotonic() < deadline:
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    finish(start(tmp_path, "store", "killed", suite))
    assert digest(tmp_path / "killed") == digest(tmp_path / "clean")
    assert leftovers(tmp_path / "killed") == leftovers(tmp_path / "store") == []


@pytest.mark.usefixtures("in_process")
@pytest.mark.filterwarnings("ignore")
def test_kill_nine_leaves_no_trace(tmp_path: Path) -> None:
    kill_and_resume(tmp_path, SUITE, [5, 14])


@pytest.mark.long
@pytest.mark.usefixtures("in_process")
@pytest.mark.filterwarnings("ignore")
def test_kill_nine_in_the_small_suite(tmp_path: Path) -> None:
    small = Path(__file__).resolve().parents[2] / "suites" / "digits-small.yaml"
    kill_and_resume(tmp_path, small, [1, 5, 12, 20, 30])


def test_term_flushes_and_says_so(tmp_path: Path) -> None:
    process = start(tmp_path, "store", "out")
    events = tmp_path / "out" / "events.jsonl"
    deadline = time.monotonic() + 60
    while not (events.is_file() and '"end"' in events.read_text()) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 143
    assert "the same command goes on from here" in err
    assert '"status": "interrupted"' in (tmp_path / "out" / "run.json").read_text()
    assert leftovers(tmp_path / "out") == []


def test_a_second_run_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    first = start(tmp_path, "store", "out")
    owner = tmp_path / "out" / ".owner.json"
    deadline = time.monotonic() + 300
    while not owner.is_file() and time.monotonic() < deadline:
        time.sleep(0.05)
    try:
        second = start(tmp_path, "store", "out")
        _, err = second.communicate(timeout=300)
        assert second.returncode == 4
        assert f"process {first.pid}" in err
    finally:
        first.kill()
        first.wait()


def verify(monkeypatch: pytest.MonkeyPatch, *more: str) -> int:
    """The exit code of `drlbench verify`."""
    monkeypatch.setattr(sys, "argv", ["drlbench", "verify", "out", "--store", "store", *more])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return int(stop.value.code or 0)


@pytest.mark.usefixtures("in_process")
@pytest.mark.filterwarnings("ignore")
def test_a_flipped_bit_is_exit_code_five(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["drlbench", "run", str(SUITE), "--store", "store", "--out", "out"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert not stop.value.code
    assert verify(monkeypatch) == 0
    target = sorted((tmp_path / "store" / "finetune").rglob("weights.safetensors"))[0]
    content = bytearray(target.read_bytes())
    content[-3] ^= 4
    os.chmod(target, 0o644)
    target.write_bytes(content)
    capfd.readouterr()
    assert verify(monkeypatch) == 5
    told = capfd.readouterr().err
    assert target.name in told and "drlbench verify out --repair" in told
    before = digest(tmp_path / "out")
    (tmp_path / "out" / "run.json").write_text("[]")  # where the command stood; the log has it, too
    assert verify(monkeypatch, "--repair") == 0
    out, err = capfd.readouterr()
    assert target.name in err
    assert "repair: drlbench run" in err and "match their checksums" in out
    assert digest(tmp_path / "out") == before
