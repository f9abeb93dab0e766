"""The list of verbs, and what the shell completes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import typer
from typer.testing import CliRunner

from drlbench.cli import complete
from drlbench.cli.main import app
from drlbench.cli.verbs import GROUPS


def test_help_lists_every_verb_in_a_group_and_switches_take_no_value() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined] # typer types it as a plain command
    assert set(commands) == {verb for verbs in GROUPS.values() for verb in verbs}
    text = CliRunner().invoke(app, ["-h"]).output
    at = [text.index(group) for group in GROUPS]
    assert at == sorted(at) and text.index("run ") < text.index("report ")
    assert "<bool>" not in text + CliRunner().invoke(app, ["run", "-h"]).output


def test_without_a_verb_there_is_help_and_no_empty_error() -> None:
    done = subprocess.run([sys.executable, "-m", "drlbench"], capture_output=True, text=True, check=False)
    assert "Run a suite" in done.stdout + done.stderr and "drlbench: \n" not in done.stderr and done.returncode == 2


def test_completion_offers_suites_files_and_runs(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "reports" / "one").mkdir(parents=True)
    (tmp_path / "reports" / "one" / "run.json").write_text("{}")
    (tmp_path / "reports" / "empty").mkdir()
    (tmp_path / "mine.yaml").write_text("")
    (tmp_path / "notes.txt").write_text("")
    monkeypatch.chdir(tmp_path)
    assert {"digits", "digits-small"} <= set(complete.suites("digits")) and "mine.yaml" in complete.suites("")
    assert "notes.txt" not in complete.suites("")
    assert complete.runs("")[0] == "reports/one/" and complete.runs("reports/o") == ["reports/one/"]
