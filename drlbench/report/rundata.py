"""A run's folder in memory, with the questions the report asks of it. Reads files only; no torch, no store.

Shapes: S RL seeds, R bootstrap replicates.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from drlbench.errors import IntegrityError, MissingPrerequisite
from drlbench.frontier.pareto import Floats
from drlbench.report.record import FILE, CellRecord, Reward, RunRecord, read_record
from drlbench.report.results import DATA, Row, check_whole, frame, read_results
from drlbench.store import manifest
from drlbench.suite.cells import in_short

if TYPE_CHECKING:
    import pandas as pd

REPLICATES = "replicates.npz"
SUBSET = "_subset"  # of a suite's `stats_per_class`
NORM_RATIO = "velocity_norm_ratio"  # best at 1, where the others that are best somewhere are at the real images' value


@dataclass(frozen=True)
class CellKey:
    """What tells one cell from another: `seed` is `<base seed>.<RL seed>`."""

    backbone: str
    run: str
    lambda_: float | None
    seed: str

    @property
    def id(self) -> str:
        """The cell's id in run.json and replicates.npz."""
        weight = "" if self.lambda_ is None else f"/lambda={in_short(self.lambda_)}"
        return DATA if self.run == DATA else f"{self.backbone}/{self.run}{weight}/seed={self.seed}"

    @property
    def base_seed(self) -> str:
        """The part of the seed that the base model was made with."""
        return self.seed.partition(".")[0]


@dataclass(frozen=True, repr=False)
class RunData:
    """Everything a run left.

    Attributes:
        path: the run's folder.
        rows: results.csv.
        record: run.json.
        parts: curves.json: the parts of each cell's training, by cell id.
        replicates: `"{cell id}|{guidance}|{space}|{metric}"` -> (R,) float64; empty when the run kept none.
    """

    path: Path
    rows: tuple[Row, ...]
    record: RunRecord
    parts: Mapping[str, list[dict[str, Any]]]
    replicates: Mapping[str, Floats]

    def __repr__(self) -> str:
        return f"RunData({self.path.name}: {len(self.cells)} cells, {len(self.rows)} numbers, {self.record.status})"

    @cached_property
    def results(self) -> pd.DataFrame:
        """results.csv as a frame."""
        return frame(self.rows)

    @cached_property
    def _index(self) -> dict[tuple[CellKey, str, str, str], Row]:
        return {(key_of(r), r.guidance, r.space, r.metric): r for r in self.rows}

    @cached_property
    def _data(self) -> dict[tuple[str, str], Row]:
        return {(r.space, r.metric): r for r in self.rows if r.run == DATA}

    @cached_property
    def _by_family(self) -> dict[tuple[str, str, float | None], tuple[CellKey, ...]]:
        found: dict[tuple[str, str, float | None], list[CellKey]] = {}
        for c in self.cells:
            found.setdefault((c.backbone, c.run, c.lambda_), []).append(c)
        return {k: tuple(sorted(v, key=lambda c: _seed_order(c.seed))) for k, v in found.items()}

    @cached_property
    def cells(self) -> tuple[CellKey, ...]:
        """Measured cells in the order of run.json (then of results.csv)."""
        order = {c.id: i for i, c in enumerate(self.record.cells)}
        found = dict.fromkeys(key_of(r) for r in self.rows if r.run != DATA)
        return tuple(sorted(found, key=lambda k: order.get(k.id, len(order))))

    @cached_property
    def _records(self) -> dict[str, CellRecord]:
        return {c.id: c for c in self.record.cells}

    @cached_property
    def backbones(self) -> tuple[str, ...]:
        """Backbones with numbers."""
        return tuple(dict.fromkeys(c.backbone for c in self.cells))

    @cached_property
    def runs(self) -> tuple[str, ...]:
        """Cell families with numbers, in the suite's order."""
        return tuple(dict.fromkeys(c.run for c in self.cells))

    @cached_property
    def spaces(self) -> tuple[str, ...]:
        """Feature spaces with numbers, in run.json's order."""
        named = [s.name for s in self.record.spaces]
        seen = dict.fromkeys(r.space for r in self.rows if r.space)
        return tuple([s for s in named if s in seen] + [s for s in seen if s not in named])

    @cached_property
    def rewards(self) -> tuple[str, ...]:
        """Rewards that were measured, in run.json's order."""
        metrics = {r.metric for r in self.rows}
        return tuple(r.name for r in self.record.rewards if r.name in metrics)

    @cached_property
    def drifts(self) -> tuple[str, ...]:
        """Image statistics: metrics that are best where the real images are."""
        found = dict.fromkeys(r.metric for r in self.rows if r.better == "closer" and not r.space)
        return tuple(m for m in found if m != NORM_RATIO)

    @cached_property
    def guidances(self) -> tuple[str, ...]:
        """Guidances with numbers."""
        return tuple(dict.fromkeys(r.guidance for r in self.rows if r.run != DATA))

    def is_preference(self, reward: str) -> bool:
        """Whether a reward scores images by taste rather than by likeness to the data."""
        return not self.reward_record(reward).kind.startswith("discriminator")

    def reward_record(self, reward: str) -> Reward:
        """run.json's record of a reward, or an empty one."""
        return next((r for r in self.record.rewards if r.name == reward), Reward(name=reward))

    def cell_record(self, cell: CellKey) -> CellRecord:
        """run.json's record of a cell, or an empty one."""
        return self._records.get(cell.id) or CellRecord.model_validate({"id": cell.id})

    def held_out_space(self, space: str) -> bool:
        """True when no reward of the run looks through the space."""
        return any(s.name == space and s.held_out for s in self.record.spaces)

    def kin(self, space: str) -> str:
        """What a held-out space shares with those that the rewards look through; empty where nothing is known."""
        return next((s.kin for s in self.record.spaces if s.name == space), "")

    def held_out_reward(self, reward: str) -> bool:
        """True when no run optimises the reward."""
        return self.reward_record(reward).held_out

    def optimised(self, cell: CellKey) -> tuple[str, ...]:
        """Rewards a cell was trained on."""
        return self.cell_record(cell).optimised

    def row(self, cell: CellKey, guidance: str, space: str, metric: str) -> Row | None:
        """One number of a cell, or None."""
        return self._index.get((cell, guidance, space, metric))

    def data_row(self, space: str, metric: str) -> Row | None:
        """The same number of the real held-out images, or None."""
        return self._data.get((space, metric))

    def best(self, space: str, metric: str) -> float:
        """The value that a `closer` metric is best at: the real images', 1 for a ratio to the base; NaN if unknown."""
        row = self.data_row(space, metric)
        return 1.0 if metric == NORM_RATIO else row.value if row else float("nan")

    def draws(self, cell: CellKey, guidance: str, space: str, metric: str) -> Floats:
        """Bootstrap replicates (R,) of one number; (0,) when none were kept."""
        return self.replicates.get(f"{cell.id}|{guidance}|{space}|{metric}", np.empty(0))

    def base_of(self, cell: CellKey) -> CellKey | None:
        """The base model a cell was fine-tuned from."""
        same = [c for c in self.cells if c.run == "base" and c.backbone == cell.backbone]
        return next((c for c in same if c.base_seed == cell.base_seed), None)

    def lambdas(self, backbone: str, run: str) -> tuple[float | None, ...]:
        """The lambdas of a family, ascending (None first)."""
        found = {c.lambda_ for c in self.cells if (c.backbone, c.run) == (backbone, run)}
        return tuple(sorted(found, key=lambda v: (v is not None, v or 0.0)))

    def seeds(self, backbone: str, run: str, lambda_: float | None) -> tuple[CellKey, ...]:
        """The cells of a family at one lambda, one per seed."""
        return self._by_family.get((backbone, run, lambda_), ())

    def sample(
        self, cells: Iterable[CellKey], guidance: str, space: str, metric: str
    ) -> tuple[Floats, Floats, tuple[CellKey, ...]]:
        """Values (S,), replicates (S, R) and the cells that have the number; R = 0 unless every cell kept some."""
        kept, values, draws = [], [], []
        for cell in cells:
            row = self.row(cell, guidance, space, metric)
            if row is not None and np.isfinite(row.value):
                kept.append(cell)
                values.append(row.value)
                draws.append(self.draws(cell, guidance, space, metric))
        shortest = min((len(d) for d in draws), default=0)
        return np.array(values), np.array([d[:shortest] for d in draws]).reshape(len(kept), shortest), tuple(kept)


def _seed_order(seed: str) -> tuple[tuple[int, str], ...]:
    return tuple((int(part), "") if part.isdigit() else (1 << 30, part) for part in seed.split("."))


def key_of(row: Row) -> CellKey:
    """The cell a row belongs to."""
    return CellKey(row.backbone, row.run, row.lambda_, row.seed)


def find_runs(path: Path) -> list[Path]:
    """The folder itself where it is a run's, else the runs in it, by name.

    Raises:
        MissingPrerequisite: there is no run.
    """
    if (path / FILE).is_file() or not path.is_dir():
        return [path]
    found = sorted(p.parent for pattern in (f"*/{FILE}", f"*/*/{FILE}") for p in path.glob(pattern))
    if not found:
        raise MissingPrerequisite(f"{path}: holds neither {FILE} nor a folder of a run; `drlbench run` makes one")
    return found


def read_run(path: Path) -> RunData:
    """Read a run's folder.

    Raises:
        MissingPrerequisite: the folder, run.json or results.csv is not there.
        IntegrityError: a file is not what its manifest says or a run writes, was cut, or is of a newer drlbench.
    """
    if not path.is_dir():
        raise MissingPrerequisite(f"{path}: no such folder; give the folder that `drlbench run --out` wrote")
    manifest.check(path, manifest.measured)
    record = read_record(path / FILE)
    rows = tuple(read_results(path / "results.csv"))
    if record.results is not None:  # kept by folders that are older than manifests, too
        check_whole(path / "results.csv", record.results)
    parts = _json(path / "curves.json")
    return RunData(path, rows, record, parts, _replicates(path / REPLICATES))


def _json(path: Path) -> Any:
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise IntegrityError(f"{path}: is not JSON ({error}); run `drlbench run` again to write it anew") from error


def _arrays(archive: zipfile.ZipFile) -> Iterator[tuple[str, Floats]]:
    """The arrays of an .npz; thousands have the same header, which numpy would parse as often."""
    kinds: dict[bytes, tuple[np.dtype[Any], tuple[int, ...], bool]] = {}
    for name in archive.namelist():
        content = archive.read(name)
        start = 10 + int.from_bytes(content[8:10], "little")  # version 1: magic, version, length, header
        head = content[:start]
        if head not in kinds:
            file = io.BytesIO(content)
            if np.lib.format.read_magic(file) != (1, 0):
                raise ValueError(f"{name} is not a .npy file of version 1")
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
            kinds[head] = dtype, shape, fortran
        dtype, shape, fortran = kinds[head]
        if dtype.hasobject:
            raise ValueError(f"{name} holds objects")
        values = np.frombuffer(content, dtype, offset=start).reshape(shape, order="F" if fortran else "C")
        yield name.removesuffix(".npy"), np.asarray(values, np.float64)


def _replicates(path: Path) -> dict[str, Floats]:
    if not path.is_file():
        return {}
    try:
        with zipfile.ZipFile(path) as archive:
            return dict(_arrays(archive))
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise IntegrityError(f"{path}: cannot be read ({error}); run `drlbench run` again to write it anew") from error
