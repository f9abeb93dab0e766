"""The door to a run's numbers: `drlbench.load_run` gives pandas frames of one run or of several."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path

import pandas as pd

from drlbench.report.fronts import FRONTIER_COLUMNS, frontier_rows
from drlbench.report.rundata import RunData, find_runs, read_run

CURVE_COLUMNS = ["cell", "round", "kind", "series", "step", "value"]
CELL_COLUMNS = [
    *("id", "backbone", "run", "reward", "algorithm", "lambda", "seed", "status", "optimised"),
    *("seconds", "training_seconds", "kl_nats"),
]


@dataclass(frozen=True, repr=False)
class Results:
    """The numbers of one run or of several, as frames; with several, a first column `folder` names each row's run.

    Attributes:
        names: each run's name: its folder's, with as much of the path as tells it from the others.
        runs: each run in full, in the same order.
    """

    names: tuple[str, ...]
    runs: tuple[RunData, ...]

    def __repr__(self) -> str:
        numbers = sum(len(r.rows) for r in self.runs)
        named = ", ".join(self.names[:2]) + (f" and {len(self.names) - 2} more" if len(self.names) > 2 else "")
        return f"Results({named}: {sum(len(r.cells) for r in self.runs)} cells, {numbers} numbers)"

    @cached_property
    def results(self) -> pd.DataFrame:
        """results.csv: a row per cell, guidance and metric, columns as `drlbench schema results` prints them."""
        return self._join(r.results for r in self.runs)

    @cached_property
    def frontier(self) -> pd.DataFrame:
        """frontier.csv: a row per cell and pair of axes; `on_front` (bool) among the cells of the same seed."""
        return self._join(pd.DataFrame(list(frontier_rows(r)), columns=FRONTIER_COLUMNS) for r in self.runs)

    @cached_property
    def curves(self) -> pd.DataFrame:
        """curves.json in long form: a row per cell, round, series and step; an unmeasured value is NaN."""
        return self._join(pd.DataFrame(list(_curve_rows(r)), columns=CURVE_COLUMNS) for r in self.runs)

    @cached_property
    def cells(self) -> pd.DataFrame:
        """run.json's cells: a row each with its status, what it was trained on and seconds of training."""
        return self._join(
            pd.DataFrame([c.model_dump(by_alias=True) for c in r.record.cells], columns=CELL_COLUMNS) for r in self.runs
        )

    def _join(self, frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
        found = list(frames)
        if len(found) == 1:
            return found[0]
        for name, frame in zip(self.names, found, strict=True):
            frame.insert(0, "folder", name)
        kept = [f for f in found if len(f)] or found[:1]  # pandas takes an empty frame's types for the whole
        return pd.concat(kept, ignore_index=True)


def _curve_rows(run: RunData) -> Iterable[tuple[str, int, str, str, float, float | None]]:
    for cell, parts in run.parts.items():
        for part in parts:
            for name, values in part.get("series", {}).items():
                for step, value in zip(part["step"], values, strict=False):
                    yield cell, part.get("round", 0), part.get("kind", ""), name, step, value


def load_run(path: str | PathLike[str], *more: str | PathLike[str]) -> Results:
    """Read one run's folder, several, or folders of runs.

    Args:
        path, more: what `drlbench run --out` wrote, or folders that hold such folders (two levels down at most).

    Returns:
        `results`, `frontier`, `curves` and `cells` as frames.

    Raises:
        MissingPrerequisite: there is no run, or its run.json or results.csv is missing.
        IntegrityError: a file is not what a run writes, was cut, or was written by a newer drlbench.
    """
    folders = list(dict.fromkeys(f for p in (path, *more) for f in find_runs(Path(p))))
    return Results(short_names(folders), tuple(read_run(f) for f in folders))


def short_names(folders: list[Path]) -> tuple[str, ...]:
    """Each folder's name, with as many of its parents as tell it from the others."""
    parts = [f.resolve().parts for f in folders]
    names = []
    for own in parts:
        others = [p for p in parts if p != own]
        depth = next((d for d in range(1, len(own)) if all(p[-d:] != own[-d:] for p in others)), len(own))
        names.append("/".join(own[-depth:]))
    return tuple(names)
