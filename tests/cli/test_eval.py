"""`drlbench eval`: what stands on stdout, what is told on stderr, and what is tried before the work."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from drlbench.cli import main as cli

ROOT = Path(__file__).resolve().parents[2]


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["drlbench", "eval", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return int(stop.value.code or 0)


def images(folder: Path, count: int = 8, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    for i in range(count):
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / f"é{i}.png")
    return folder


def test_without_downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    own, real = images(tmp_path / "own"), images(tmp_path / "real", seed=1)
    (own / "notes.txt").write_text("x")
    arguments = (own, "--reference", real, "--metrics", "fd,stats", "--spaces", "pixels,fourier")
    assert call(monkeypatch, *arguments, "--cache", tmp_path / "c", "--out", tmp_path / "o") == 0
    out, err = capsys.readouterr()
    rows = list(csv.DictReader(io.StringIO(out)))
    assert {(r["space"], r["metric"]) for r in rows} >= {("pixels", "fd"), ("fourier", "fd"), ("", "brightness")}
    assert f"note: {own}: 9 seen, 8 used, skipped: 1 of another kind by their names (notes.txt)" in err
    assert (tmp_path / "o" / "eval.csv").read_text() == out
    kept = json.loads((tmp_path / "o" / "eval.json").read_text())
    assert [record["used"] for record in kept["data"]] == [8, 8] and kept["notes"]


def test_statistics_ask_for_no_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("drlbench.encoders.inception.InceptionV3.__init__", lambda *_, **__: pytest.fail("was built"))
    assert call(monkeypatch, images(tmp_path / "i"), "--metrics", "stats", "--cache", tmp_path / "c") == 0
    assert "brightness" in capsys.readouterr().out


def test_what_cannot_be_written_is_found_out_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("drlbench.evaluate.score.evaluate", lambda *_, **__: pytest.fail("the work was begun"))
    (tmp_path / "file").write_text("x")
    for out in ("/proc/nowhere", tmp_path / "file", tmp_path / "file" / "deep"):
        assert call(monkeypatch, images(tmp_path / f"i{len(str(out))}"), "--metrics", "stats", "--out", out) == 6
        printed, err = capsys.readouterr()
        assert printed == "" and err.startswith(f"drlbench: {out}: cannot be written to") and err.count("\n") == 1


def test_a_cache_that_cannot_be_written_costs_nothing_but_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    own = images(tmp_path / "i")
    (tmp_path / "file").write_text("x")
    arguments = (own, "--reference", own, "--metrics", "fd", "--spaces", "fourier", "--cache", tmp_path / "file")
    assert call(monkeypatch, *arguments) == 0
    out, err = capsys.readouterr()
    assert "fourier,fd" in out and f"warning: {tmp_path / 'file'}: features are not kept there" in err


def test_names_never_act_upon_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    own = images(tmp_path / "red\x1b[31m")
    (own / "a\x1b]0;title\x07.txt").write_text("x")
    assert call(monkeypatch, own, "--reference", own, "--metrics", "stats", "--cache", tmp_path / "c") == 0
    out, err = capsys.readouterr()
    assert "\x1b" not in out + err and "\x07" not in err and "red\\x1b[31m: 9 seen" in err
    (own / "bad\x1b[2J.png").write_bytes(b"x")
    assert call(monkeypatch, own, "--metrics", "stats", "--cache", tmp_path / "c") == 5
    assert "\x1b" not in capsys.readouterr().err


def test_a_full_disk_at_the_end_leaves_the_table_on_stdout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("drlbench.evaluate.table.write_text", full)
    own = images(tmp_path / "i")
    assert call(monkeypatch, own, "--metrics", "stats", "--out", tmp_path / "o", "--cache", tmp_path / "c") == 6
    out, err = capsys.readouterr()
    assert "brightness" in out and "No space left on device" in err and "Traceback" not in err


def test_names_that_neither_locale_nor_terminal_knows(tmp_path: Path) -> None:
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "latin5:strict"}
    images(tmp_path / "données→", 4)
    images(tmp_path / "référence→", 4, seed=1)
    command = [sys.executable, "-m", "drlbench", "eval", "données→", "--reference", "référence→"]
    done = subprocess.run(
        [*command, "--metrics", "stats,fd", "--spaces", "fourier", "--out", "o", "--cache", "c"],
        capture_output=True, cwd=tmp_path, check=False, timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT), **locale},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "o" / "eval.csv").read_text(encoding="utf-8")
    assert "référence→" in text and b"fourier,fd" in done.stdout
