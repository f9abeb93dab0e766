"""The README's scorecard is the example's; after a new example `python tests/test_readme.py` writes it anew."""

from __future__ import annotations

from pathlib import Path

from drlbench.report.rundata import read_run
from drlbench.report.summary import summarise

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
BEGIN, END = "<!-- scorecard: made by `python tests/test_readme.py` -->\n", "<!-- end of scorecard -->\n"


def scorecard() -> str:
    """The verdict and the scorecard of reports/example as Markdown."""
    run = read_run(ROOT / "reports" / "example")
    summary = summarise(run)
    commit = (run.record.git.commit or "")[:7]
    made = f"Run of {str(run.record.finished)[:10]}, commit {commit}: its own verdict and scorecard.\n\n"
    verdict = "".join(f"> {text}\n>\n" for text in summary.in_short()).removesuffix(">\n")
    return f"{made}{verdict}\n{summary.scorecard.to_table(short=True).to_markdown()}"


def parts() -> tuple[str, str, str]:
    before, _, rest = README.read_text().partition(BEGIN)
    block, _, after = rest.partition(END)
    return before, block, after


def test_the_readme_s_scorecard_is_the_example_s() -> None:
    assert parts()[1] == scorecard(), "the example is newer than the README: `python tests/test_readme.py`"


if __name__ == "__main__":
    before, _, after = parts()
    README.write_text(before + BEGIN + scorecard() + END + after)
