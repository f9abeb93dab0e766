"""Tables on the terminal: as wide as it is, and whole where the output goes to a file or a pipe."""

from __future__ import annotations

from dataclasses import replace

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table as Drawn

from drlbench.report.scorecard import Scorecard
from drlbench.report.tables import Table, as_text

WIDE, STACKED = 190, 130  # columns that the whole scorecard takes, and with intervals under the numbers
PIPED = 400  # columns: nothing is cut where nobody looks


def show_scorecard(card: Scorecard) -> None:
    """The scorecard: whole where there is room, else what is held out, each interval under its number or left out."""
    width = _console().width
    table = card.to_table(short=width < WIDE)
    if width >= WIDE:
        show(table)
    elif width >= STACKED:
        show(replace(table, rows=tuple(tuple(str(v).replace(" [", "\n[") for v in row) for row in table.rows)))
    else:
        named = table.header.index("run")
        rows = []
        for row in table.rows:
            name = " ".join(map(str, row[: named + 1])).replace("(lambda ", "λ ").replace(")", "")
            numbers = (str(v).partition(" [") for v in row[named + 1 : -2])
            rows.append((name, *(v + " *" * interval.endswith("*") for v, _, interval in numbers)))
        note = f"{table.note} Intervals, training time and seeds: wider terminals and the page."
        show(replace(table, header=table.header[named:-2], rows=tuple(rows), note=note))


def _console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PIPED)


def show(table: Table) -> None:
    """Print a table to stdout."""
    console = _console()
    drawn = Drawn(
        title=escape(table.title),
        caption=escape(table.note),
        box=SIMPLE_HEAD,
        title_justify="left",
        padding=(0, 1, 0, 0),
    )
    drawn.caption_justify = "left"
    for i, name in enumerate(table.header):
        drawn.add_column(escape(name), overflow="fold", no_wrap=i == 0)  # a name in pieces is no name
    for row in table.rows:
        drawn.add_row(*(escape(as_text(v)) for v in row))
    console.print(drawn)
