"""The command line's verbs that read finished runs: report, figures, compare."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from drlbench.cli import complete
from drlbench.cli.complete import CellsOption, RunPath
from drlbench.errors import UserError

if TYPE_CHECKING:
    from drlbench.report.summary import Summary


def report(
    folders: Annotated[
        list[Path],
        typer.Argument(
            help="A run's folder; several, or a folder of runs: a leaderboard.", autocompletion=complete.runs
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for leaderboard.html and .csv of several runs.")] = Path(
        "reports"
    ),
) -> None:
    """Make the tables and report.html again from a run's results; of several runs, a leaderboard."""
    from drlbench.report.build import build_report
    from drlbench.report.rundata import find_runs
    from drlbench.store import manifest

    runs = [f for folder in folders for f in find_runs(folder)]
    if len(runs) == 1:
        manifest.check(runs[0], manifest.measured)
        summary = build_report(runs[0])
        manifest.renew(runs[0])
        tell(summary, runs[0])
    else:
        from drlbench.report.leaderboard import write_leaderboard
        from drlbench.report.load import load_run

        print(f"leaderboard: {write_leaderboard(load_run(*runs), out)}")


def figures(
    folder: RunPath,
    paper: Annotated[bool, typer.Option("--paper", help="The paper's figures, and what the others lack.")] = False,
) -> None:
    """Draw the figures of a run again; with --paper, the paper's."""
    from drlbench.report.figures import draw_figures
    from drlbench.report.figures.paper import draw_paper_figures
    from drlbench.report.rundata import read_run
    from drlbench.store import manifest

    run = read_run(folder)
    if not paper:
        paths = draw_figures(run, folder / "figures")
        manifest.renew(folder)
        print(f"{len(paths)} files in {folder / 'figures'}")
        return
    made = draw_paper_figures(run, folder / "figures" / "paper")
    manifest.renew(folder)
    print("\n".join(made.drawn))
    print("\n".join(f"lacking: {lack}" for lack in made.lacking))
    print(f"{len(made.paths)} files in {folder / 'figures' / 'paper'}")


def compare(
    first: Annotated[
        Path, typer.Argument(help="The older run (the run, with --baseline).", autocompletion=complete.runs)
    ],
    second: Annotated[Path | None, typer.Argument(help="The newer run.", autocompletion=complete.runs)] = None,
    baseline: Annotated[Path | None, typer.Option("--baseline", help="A results.csv to compare the run with.")] = None,
    fail_on: Annotated[
        str, typer.Option("--fail-on", help="regress: exit code 3 when a number got worse, or none could be compared.")
    ] = "never",
    every: Annotated[bool, typer.Option("--all", help="Every number, not the summary alone.")] = False,
    metrics: Annotated[str, typer.Option("--metrics", help="Only these, comma-separated.")] = "*",
    cells: CellsOption = [],  # noqa: B006 - typer reads the default and never changes it
    out: Annotated[Path | None, typer.Option("--out", help="Folder for compare.csv and compare.html.")] = None,
) -> None:
    """Compare two runs, or a run with a baseline, paired by seed."""
    from drlbench.report.compare import compare as paired
    from drlbench.report.compare_text import summary, table, to_csv
    from drlbench.report.html_runs import render_comparison
    from drlbench.report.terminal import show
    from drlbench.store import atomic

    if fail_on not in ("never", "regress"):
        raise UserError(f"--fail-on {fail_on!r}: valid are never and regress")
    found = paired(first, second, baseline, metrics, tuple(cells))
    if out is not None:
        atomic.write_text(out / "compare.csv", to_csv(found))
        atomic.write_text(out / "compare.html", render_comparison(found))
    if every:
        show(table(found, every=True))
    print(summary(found), end="")
    if fail_on == "regress" and (found.regressed or not found.compared):
        raise typer.Exit(3)


def tell(summary: Summary, folder: Path) -> None:
    """The verdict, the scorecard and where the page is."""
    from drlbench.report.terminal import show_scorecard

    print("\n".join(summary.in_short()))
    if summary.scorecard.lines:
        show_scorecard(summary.scorecard)
    print(f"report: {folder / 'report.html'}")
