"""What README and docs tell users to type exists: every verb, every flag, every shipped suite, every file linked."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

from drlbench.cli.main import app

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMAND = re.compile(r"(?:^ {4}|`)(?:\$ )?(?:[A-Z_]+=\S+ )*drlbench ([^`\n]+)", re.M)


def commands(page: Path) -> Iterator[str]:
    """Every `drlbench ...` line or code span, cut at what belongs to the shell."""
    for match in COMMAND.finditer(page.read_text()):
        yield re.split(r"\s(?:&&|\||#|>|;)\s?|…|\.\.\.", match.group(1))[0].strip()


def resolve(words: list[str]) -> tuple[Any, list[str]]:
    """The verb that the words name, and the words after it."""
    command: Any = typer.main.get_command(app)
    while isinstance(command, TyperGroup) and words:
        assert words[0] in command.commands or words[0].startswith("-"), f"no verb {words[0]!r}"
        if words[0].startswith("-"):
            break
        command, words = command.commands[words[0]], words[1:]
    return command, words


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_every_command_exists(page: Path) -> None:
    for text in commands(page):
        text = text.replace("\\|", "|")
        words = shlex.split(text)
        if not re.fullmatch(r"[a-z-]+", words[0]):
            continue  # a sentence about drlbench, or a placeholder for a verb
        command, rest = resolve(words)
        known = {o for p in command.params for o in (*p.opts, *p.secondary_opts)} | {"--help", "-h"}
        for flag in (w.partition("=")[0] for w in rest if w.startswith("--")):
            assert flag in known, f"`drlbench {text}`: no option {flag}"


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", (ROOT / "docs/python.md").read_text(), re.S))
def test_the_examples_in_python_run(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if '"brisque"' in code:
        pytest.importorskip("brisque", reason="its weights come with drlbench[pretrained]")
    (tmp_path / "reports").symlink_to(ROOT / "reports")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "docs/python.md", "exec"), {})


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_every_link_leads_to_a_file(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
