"""run.json, typed: what ran, on what, and what became of every cell.

Schema 2 added `results`, the length and checksum of results.csv; schema 3 a cell's `policy`, `updates` and `matched`
and a guidance's `guide`. Files of earlier schemas are read as they are; a key that is unknown here is kept
(`model_extra`), so that nothing a run wrote is lost on the way.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from drlbench.errors import IntegrityError, MissingPrerequisite

SCHEMA = 3
FILE = "run.json"


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True, populate_by_name=True)


class Space(_Part):
    """A feature space; `held_out` when no reward of the run looks through it."""

    name: str
    kind: str = ""
    dim: int | None = None
    signature: str = ""
    held_out: bool = True
    kin: str = Field(default="", description="What a held-out space shares with the reward's: labels, and with which.")


class Reward(_Part):
    """A reward; `held_out` when no run of the suite maximises it."""

    name: str
    kind: str = ""
    held_out: bool = True
    description: str = ""
    encoders: tuple[str, ...] = ()
    encoder_training: str = ""
    signature: str = ""
    report: dict[str, Any] = Field(default_factory=dict, description="What the fit said of itself: auc, r1, ...")


class Backbone(_Part):
    """A generator; `parameters` counts its weights."""

    name: str
    family: str = ""
    parameters: int | None = None
    description: str = ""


class Guidance(_Part):
    """A guidance scale and the part of t in [0, 1] where it applies; of autoguidance the run that is its guide."""

    name: str
    cfg: float | None = None
    cfg_low: float | None = None
    cfg_high: float | None = None
    guide: str | None = None


class Policy(_Part):
    """The second network that a run puts beside its start's: its hidden width and its blocks."""

    widen: int
    depth: int

    def __str__(self) -> str:
        return f"widen {self.widen}, depth {self.depth}"


class CellRecord(_Part):
    """One model of the run: where it came from, what it was trained on, what that took."""

    id: str = Field(description="<backbone>/<run>/lambda=<x>/seed=<base seed>.<RL seed>")
    backbone: str = ""
    run: str = ""
    reward: str | None = None
    algorithm: str | None = None
    lambda_: float | None = Field(default=None, alias="lambda")
    seed: str = ""
    model: tuple[str, str] | None = Field(default=None, description="Kind and key of the stage that made it.")
    status: Literal["ok", "failed", "missing"] = "missing"
    error: str = ""
    optimised: tuple[str, ...] = Field(default=(), description="Rewards it, or what it starts from, was trained on.")
    start: str | None = Field(default=None, description="Id of the cell it starts from.")
    teacher: str | None = Field(default=None, description="Id of the cell whose samples it learns from.")
    settings: dict[str, Any] = Field(default_factory=dict)
    policy: Policy | None = Field(default=None, description="The second network it has, its own or its start's.")
    updates: int | None = Field(default=None, description="Optimiser updates of each round.")
    matched: str | None = Field(default=None, description="Id of the cell whose training costs as much as its own.")
    seconds: float | None = Field(default=None, description="Seconds of all its training stages.")
    training_seconds: float | None = Field(default=None, description="Seconds of its fine-tunes alone.")
    kl_nats: float | None = None
    grids: dict[str, str] = Field(default_factory=dict, description="Sample grid by guidance, a path in the folder.")


class Grid(_Part):
    """The layout all sample grids share: a row a class, a column a seed."""

    rows: int | None = None
    columns: int | None = None
    seed: int | None = None


class Git(_Part):
    """The source tree: its commit and whether it held changes."""

    commit: str | None = None
    dirty: bool | None = None


class Written(_Part):
    """What results.csv held when the run wrote it: data rows, and SHA-256 of the file and of its last line."""

    rows: int
    sha256: str
    last: str


class RunRecord(_Part):
    """run.json."""

    model_config = ConfigDict(title="run.json")

    schema_: int = Field(alias="schema", ge=1, le=SCHEMA, strict=True)
    suite: str = ""
    title: str = ""
    command: str = ""
    status: Literal["started", "complete", "partial", "failed", "interrupted", "unknown"] = "unknown"
    started: str | None = None
    finished: str | None = None
    wall_seconds: float | None = None
    hardware: dict[str, Any] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    git: Git = Git()
    suite_text: str = ""
    suite_sha256: str = ""
    overrides: tuple[str, ...] = ()
    data: tuple[dict[str, Any], ...] = Field(default=(), description="What became of the files of the data.")
    resamples: int | None = None
    workers: int | None = None
    stages: tuple[tuple[str, str, str], ...] = Field(default=(), description="(kind, key, label) of every stage.")
    grid: Grid = Grid()
    classes: tuple[str, ...] = ()
    cells: tuple[CellRecord, ...] = ()
    spaces: tuple[Space, ...] = ()
    rewards: tuple[Reward, ...] = ()
    backbones: tuple[Backbone, ...] = ()
    guidances: tuple[Guidance, ...] = ()
    sampling: dict[str, Any] = Field(default_factory=dict, description="sampler, steps and precision of every cell.")
    warnings: tuple[str, ...] = ()
    teacher: str | None = None
    details: dict[str, dict[str, Any]] = Field(default_factory=dict, description="Further numbers, by replicates' key.")
    results: Written | None = None

    @property
    def row_names(self) -> list[str]:
        """What the rows of every sample grid show: the first classes, by their numbers where no names were kept."""
        count = self.grid.rows or 0
        return [*self.classes[:count], *(str(i) for i in range(len(self.classes), count))]

    def __repr__(self) -> str:
        return f"RunRecord({self.suite!r}, {self.status}, {len(self.cells)} cells)"


def read_record(path: Path) -> RunRecord:
    """Read run.json.

    Raises:
        MissingPrerequisite: there is no such file.
        IntegrityError: it is not JSON, not a run's record, or of a schema that this version does not read.
    """
    if not path.is_file():
        raise MissingPrerequisite(f"{path}: not found; a run's folder holds it once `drlbench run` has started")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise IntegrityError(f"{path}: is not JSON ({error}); run `drlbench run` again to write it anew") from error
    schema = found.get("schema") if isinstance(found, dict) else None
    if isinstance(schema, bool) or not isinstance(schema, int):
        was = f"schema {json.dumps(schema)}" if isinstance(found, dict) and "schema" in found else "no schema number"
        raise IntegrityError(f"{path}: {was}; a run's record has an integer, 1 to {SCHEMA}")
    if schema < 1:
        raise IntegrityError(f"{path}: schema {schema}; a run's record has 1 to {SCHEMA}")
    if schema > SCHEMA:
        versions = found.get("versions")
        needed = versions.get("drlbench", "") if isinstance(versions, dict) else ""
        newer = f"drlbench >= {needed}" if needed else "a newer drlbench"
        raise IntegrityError(f"{path}: schema {schema} needs {newer}; this one reads 1 to {SCHEMA}")
    try:
        return RunRecord.model_validate(found)
    except ValidationError as error:
        said = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise IntegrityError(f"{path}: not what a run writes: {'; '.join(said[:5])}") from error
