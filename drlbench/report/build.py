"""Make everything readers see from a run's folder: tables, frontier, summary, figures and the page.

A pure function of results.csv, run.json, curves.json, replicates.npz and samples/: the same files give the same bytes.
Needs no torch, no GPU and no store.
"""

from __future__ import annotations

from pathlib import Path

from drlbench.report.figures import page_figures
from drlbench.report.fronts import FRONTIER_COLUMNS, frontier_rows
from drlbench.report.html import render
from drlbench.report.paper_tables import paper_table, statistics_table
from drlbench.report.results import csv_text
from drlbench.report.rundata import read_run
from drlbench.report.summary import Summary, summarise
from drlbench.report.tables import honest_table, printed_table
from drlbench.store import atomic


def build_report(run_dir: Path) -> Summary:
    """Write the tables, frontier.csv, summary.json, and report.html with the figures it shows as SVG.

    Every figure as SVG, PDF and PNG: `draw_figures`, the verb `figures`.

    Args:
        run_dir: a run's folder as docs/design/run-folder.md describes it; finished, partial or interrupted.

    Returns:
        What summary.json holds.

    Raises:
        MissingPrerequisite, IntegrityError, UserError: see `read_run`.
    """
    run = read_run(run_dir)
    summary = summarise(run)
    atomic.write_text(run_dir / "table.csv", honest_table(run).to_csv())
    tables = {"table": printed_table(run, summary.plain_guidance)}
    tables |= {f"paper_table_{n}": table for n in "2345" if (table := paper_table(run, n)) is not None}
    if (table := statistics_table(run)) is not None:
        tables["paper_statistics"] = table
    for name, table in tables.items():
        atomic.write_text(run_dir / f"{name}.md", table.to_markdown())
        atomic.write_text(run_dir / f"{name}.tex", table.to_latex())
        if name != "table":
            atomic.write_text(run_dir / f"{name}.csv", table.to_csv())
    atomic.write_text(run_dir / "frontier.csv", csv_text(FRONTIER_COLUMNS, frontier_rows(run)))
    atomic.write_json(run_dir / "summary.json", summary.to_json())
    drawn = page_figures(run)
    for name, (_, picture) in drawn.items():
        atomic.write_text(run_dir / "figures" / f"{name}.svg", picture)
    atomic.write_text(run_dir / "report.html", render(run, summary, drawn))
    return summary
