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

EXAMPLE = Path(__file__).parents[2] / "reports" / "example"


def test_help_lists_every_verb_in_a_group_and_switches_take_no_value() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined] # typer types it as a plain command
    assert set(commands) == {verb for verbs in GROUPS.values() for verb in verbs}
    text = CliRunner().invoke(app, ["-h"]).output
    at = [text.index(group) for group in GROUPS]
    assert at == sorted(at) and text.index("run ") < text.index("report ")
    of_run = CliRunner().invoke(app, ["run", "-h"]).output
    assert "<bool>" not in text + of_run and "drlbench[ray]" in of_run


def test_without_a_verb_there_is_help_and_no_empty_error() -> None:
    done = subprocess.run([sys.executable, "-m", "drlbench"], capture_output=True, text=True, check=False)
    assert done.stderr.startswith("Usage: ") and "Run a suite:" in done.stderr and done.returncode == 2


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


def offered(words: list[str]) -> list[str]:
    """What bash is offered for the last of the words."""
    environment = {"COMP_WORDS": "\n".join(words), "COMP_CWORD": str(len(words) - 1)}
    result = CliRunner().invoke(
        app, [], env={**environment, "_DRLBENCH_COMPLETE": "complete_bash"}, prog_name="drlbench"
    )
    return result.output.split()


def test_the_shell_completes_cells_of_suites_and_runs(tmp_path: Path) -> None:
    (tmp_path / "faulty.yaml").write_text("suite: [")
    for line, found in {
        "drlbench run digits-small --cells sit/drl/": ["sit/drl/lambda=1/seed=0.0", "sit/drl/lambda=2/seed=0.0"],
        "drlbench plan --cells jit/s": ["jit/sft/seed=0.0"],  # of digits, the suite by default
        f"drlbench run {tmp_path}/faulty.yaml --cells sit": [],
        f"drlbench export {EXAMPLE} sit/drl/lambda=3": ["sit/drl/lambda=3/seed=0.0"],
        f"drlbench sample {EXAMPLE} jit/b": ["jit/base/seed=0.0", "jit/base+prl/lambda=1.5/seed=0.0"],
        f"drlbench compare {EXAMPLE} {EXAMPLE} --cells sit/sf": ["sit/sft/seed=0.0"],
        f"drlbench sample {tmp_path} sit": [],
    }.items():
        assert offered(line.split()) == found, line


def test_the_shell_completes_lists_of_encoders_and_metrics() -> None:
    assert offered(["drlbench", "eval", "x", "--spaces", "pixels,inc"]) == ["pixels,inception-v3"]
    assert not [name for name in complete.encoders("") if name.startswith("small-")]
    assert complete.metrics("fd,fd") == ["fd,fd-infinity"], "what is there is not offered twice"


def test_completion_brings_no_torch_in() -> None:
    code = "import sys; from drlbench.cli import complete as c; c.suites(''); c.encoders(''); c.metrics('')"
    code += "; assert c._cells_of('digits'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
