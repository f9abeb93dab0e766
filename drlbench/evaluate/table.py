"""What an evaluation found: rows under their signatures, what is unsound about them, what could not be measured."""

from __future__ import annotations

import csv
import io
import math
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drlbench.data.account import Account
from drlbench.errors import MissingPrerequisite, UserError
from drlbench.store.atomic import write_json, write_text

if TYPE_CHECKING:
    from drlbench.evaluate.peers import Comparison

COLUMNS = (
    "space", "metric", "value", "low", "high", "standard_error", "n", "rank_deficient", "better", "signature",
)  # fmt: skip
DIGITS = 6  # significant, in the CSV: what does not depend on the batch size


@dataclass(frozen=True)
class Row:
    """One number of the table; low and high are None where there is no interval.

    `details` are further numbers of the same computation, such as KD's standard error over its subsets.
    """

    space: str
    metric: str
    value: float
    low: float | None
    high: float | None
    n: int
    better: str
    signature: str
    details: Mapping[str, float] = field(default_factory=dict)

    def cell(self, column: str) -> Any:
        """What the CSV says in a column; None where it says nothing."""
        if column == "rank_deficient":
            found = self.details.get(column)
            return None if found is None else "yes" if found else "no"
        return self.details.get(column) if column == "standard_error" else getattr(self, column)


@dataclass
class Table:
    """What was measured, what is unsound about it, and what could not be measured.

    `notes` say what was left out, matched or chosen; `data` are the counts behind them, one record per set of images;
    `peers` are FIDs by other tools, where they were asked for.
    """

    rows: list[Row] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    data: list[dict[str, Any]] = field(default_factory=list)
    failures: list[tuple[str, UserError]] = field(default_factory=list)
    peers: list[Comparison] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0, or the exit code of the first failure."""
        return self.failures[0][1].exit_code if self.failures else 0

    def warn(self, text: str) -> None:
        """Say something once."""
        if text not in self.warnings:
            self.warnings.append(text)

    def note(self, text: str) -> None:
        """Say once what was left out, matched or chosen."""
        if text not in self.notes:
            self.notes.append(text)

    def account(self, found: Account) -> None:
        """Take in what became of the files of one set of images."""
        for text in found.lines():
            self.note(text)
        for text in found.warnings():
            self.warn(text)
        if (record := found.document()) not in self.data:
            self.data.append(record)

    def extend(self, other: Table) -> None:
        """Take in what another evaluation of the same images found."""
        self.rows += other.rows
        for text in other.warnings:
            self.warn(text)
        for text in other.notes:
            self.note(text)
        self.data += [record for record in other.data if record not in self.data]
        said = {(what, str(error)) for what, error in self.failures}
        self.failures += [(what, error) for what, error in other.failures if (what, str(error)) not in said]

    def csv(self) -> str:
        """Rows as CSV with 6 significant digits; text that a spreadsheet would run as a formula is quoted."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in self.rows:
            writer.writerow([_cell(row.cell(column)) for column in COLUMNS])
        return buffer.getvalue()

    def document(self) -> dict[str, Any]:
        """Rows with all digits and details, warnings, notes, counts of files and failures, as plain JSON."""
        rows = []
        for row in self.rows:
            fields = {**asdict(row), "details": {key: _number(value) for key, value in row.details.items()}}
            rows.append({**fields, "value": _number(row.value)})
        failures = [{"what": what, "why": str(error)} for what, error in self.failures]
        peers = {"peers": [c.to_json() for c in self.peers]} if self.peers else {}
        return {
            **peers,
            "rows": rows,
            "warnings": self.warnings,
            "notes": self.notes,
            "data": self.data,
            "failures": failures,
        }

    def write(self, folder: Path) -> None:
        """Write `eval.csv` and `eval.json` (what `document` holds) into a folder.

        Raises:
            MissingPrerequisite: it cannot be written to.
        """
        try:
            write_text(folder / "eval.csv", self.csv())
            write_json(folder / "eval.json", self.document())
        except OSError as error:
            raise _unwritable(folder, error) from error


def check_writable(folder: Path) -> None:
    """Make a folder, and find out whether files can be written into it.

    Raises:
        MissingPrerequisite: they cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _unwritable(folder, error) from error


def _unwritable(folder: Path, error: OSError) -> MissingPrerequisite:
    return MissingPrerequisite(f"{folder}: cannot be written to ({error.strerror or error}); give another --out")


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None  # JSON has no word for NaN and infinity


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.{DIGITS}g}"
    text = str(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text
