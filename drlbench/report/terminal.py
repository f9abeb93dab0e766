"""Tables on the terminal: as wide as it is, and whole where the output goes to a file or a pipe."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table as Drawn

from drlbench.report.tables import Table, as_text

PIPED = 400  # columns: nothing is cut where nobody looks


def show(table: Table) -> None:
    """Print a table to stdout."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=PIPED)
    drawn = Drawn(title=escape(table.title), caption=escape(table.note), box=SIMPLE_HEAD, title_justify="left")
    drawn.caption_justify = "left"
    for name in table.header:
        drawn.add_column(escape(name), overflow="fold")
    for row in table.rows:
        drawn.add_row(*(escape(as_text(v)) for v in row))
    console.print(drawn)
