"""results.csv: reading and writing the tidy table of a run, byte-stable and safe to open in a spreadsheet.

Numbers are written as the shortest decimal that reads back to the same float. A text cell that a spreadsheet would
take for a formula (it starts with = + - @ tab or return) gets a leading apostrophe, which reading takes off again.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from drlbench.errors import IntegrityError, MissingPrerequisite, UserError, did_you_mean
from drlbench.report.record import Written
from drlbench.store import atomic

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = [
    *("suite", "backbone", "run", "reward", "algorithm", "lambda", "seed", "guidance", "cfg", "cfg_low", "cfg_high"),
    *("space", "metric", "value", "low", "high", "n", "better", "signature", "policy"),
]
ADDED = ("policy",)  # columns that files of earlier versions lack, the last ones
NUMBERS = frozenset({"lambda", "cfg", "cfg_low", "cfg_high", "value", "low", "high"})
BETTER = ("lower", "higher", "closer")
DATA = "data"
_RISKY = re.compile(r"'*[=+\-@\t\r]")
_SHIELDED = re.compile(r"'+[=+\-@\t\r]")


@dataclass(frozen=True)
class Row:
    """One number of a run; fields in the order of `COLUMNS` (`lambda_` is the column `lambda`).

    `lambda_` is None without a reward; `value, low, high` may be NaN, and `low, high` None where no interval is known.
    """

    suite: str
    backbone: str
    run: str
    reward: str
    algorithm: str
    lambda_: float | None
    seed: str
    guidance: str
    cfg: float | None
    cfg_low: float | None
    cfg_high: float | None
    space: str
    metric: str
    value: float
    low: float | None
    high: float | None
    n: int
    better: str
    signature: str
    policy: str = ""


def shield(text: str) -> str:
    """A text cell that no spreadsheet runs; `unshield` undoes it."""
    return f"'{text}" if _RISKY.match(text) else text


def unshield(text: str) -> str:
    """The text behind a shielded cell."""
    return text[1:] if _SHIELDED.match(text) else text


def number(value: float | None) -> str:
    """The shortest decimal that reads back to the same float; empty for None, `nan` for NaN."""
    if value is None:
        return ""
    return repr(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(float(value))


def csv_text(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """CSV with \\n line ends: floats by `number`, text shielded, None empty, booleans as true and false."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([shield(h) for h in header])
    for row in rows:
        writer.writerow([_cell(v) for v in row])
    return out.getvalue()


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return number(value) if isinstance(value, int | float) else shield(str(value))


def write_results(path: Path, rows: Iterable[Row]) -> Written:
    """Replace results.csv in one step, rows in the order given; returns what run.json must say of it."""
    kept = list(rows)
    text = csv_text(COLUMNS, (tuple(vars(r).values()) for r in kept))
    atomic.write_text(path, text)
    return Written(rows=len(kept), sha256=_digest(text.encode()), last=_digest(_last_line(text.encode())))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _last_line(content: bytes) -> bytes:
    return content.rstrip(b"\n").rpartition(b"\n")[2]


def check_whole(path: Path, written: Written) -> None:
    """Compare results.csv with what the run wrote, byte for byte.

    Raises:
        IntegrityError: it lost its end, was edited or is damaged.
    """
    content = path.read_bytes()
    if _digest(content) == written.sha256:
        return
    rows = max(0, content.count(b"\n") - 1)
    how = f"{rows} rows where the run wrote {written.rows}" if rows != written.rows else "not what the run wrote"
    cut = _digest(_last_line(content)) != written.last
    raise IntegrityError(
        f"{path}: was {'cut or damaged' if cut else 'edited or damaged'}: {how}; `drlbench run` again writes it anew"
    )


def read_results(path: Path) -> list[Row]:
    """Read results.csv.

    Raises:
        MissingPrerequisite: there is no such file.
        IntegrityError: it ends in the middle of a line.
        UserError: the columns are not those of the contract, or a cell does not parse; names line and column.
    """
    if not path.is_file():
        raise MissingPrerequisite(f"{path}: not found; a run's folder holds it once `drlbench run` has measured a cell")
    with path.open(newline="", encoding="utf-8") as file:
        text = file.read()
    if text and not text.endswith("\n"):
        raise IntegrityError(f"{path}: was cut: its last line does not end; `drlbench run` again writes it anew")
    with io.StringIO(text, newline="") as file:
        reader = csv.reader(file)
        header = next(reader, [])
        if header not in (COLUMNS, COLUMNS[: -len(ADDED)]):
            raise UserError(f"{path}:1: {_header_fault(header)}")
        return [_parse(path, reader.line_num, header, cells) for cells in reader if cells]


def frame(rows: Iterable[Row]) -> pd.DataFrame:
    """Rows as a frame with the columns of results.csv; unknown numbers are NaN, `n` is an integer, the rest text."""
    import pandas as pd  # a report needs no frames, and waits 0.3 s for them

    found = pd.DataFrame.from_records([tuple(vars(r).values()) for r in rows], columns=COLUMNS)
    return found.astype(dict.fromkeys(NUMBERS, float) | {"n": int})


def _header_fault(header: list[str]) -> str:
    missing = [c for c in COLUMNS if c not in header]
    extra = [c for c in header if c not in COLUMNS]
    if missing:
        hint = did_you_mean(missing[0], extra)
        return f"column '{missing[0]}' is missing{hint}; the columns are {','.join(COLUMNS)}"
    if extra:
        return f"column '{extra[0]}' is not one of {','.join(COLUMNS)}"
    return f"the columns are not in the order {','.join(COLUMNS)}"


def _parse(path: Path, line: int, header: list[str], cells: list[str]) -> Row:
    if len(cells) != len(header):
        raise UserError(f"{path}:{line}: {len(cells)} cells where {len(header)} are expected")
    values: list[object] = []
    for column, text in zip(header, cells, strict=True):
        try:
            if column in NUMBERS:
                values.append(float(text) if text else None)
            elif column == "n":
                values.append(int(text))
            else:
                values.append(unshield(text))
        except ValueError as error:
            raise UserError(f"{path}:{line}: column {column}: {text!r} is not a number") from error
    row = Row(*values)  # type: ignore[arg-type] # one by one from the header, a part of COLUMNS
    if row.value is None:
        raise UserError(f"{path}:{line}: column value: empty; an unknown value is written nan")
    if row.better not in BETTER:
        raise UserError(f"{path}:{line}: column better: {row.better!r} is not one of {', '.join(BETTER)}")
    return row
