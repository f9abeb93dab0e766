"""The paper's printed numbers, and when a run may be set beside them.

A run is comparable to arXiv 2606.19162v1 when it has the 1000 ImageNet classes; backbones match by family, feature
spaces and rewards by name, written any way (`dinov2-l`, `DINOv2_L`). Digits stay the strings that were printed.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TypeVar

from drlbench.errors import IntegrityError, MissingPrerequisite
from drlbench.report.rundata import RunData

IMAGENET_CLASSES = 1000
T = TypeVar("T")
_ALIASES = {"inceptionv3": "inception", "aestheticv25": "aestheticv25", "aesthetic": "aestheticv25"}


@dataclass(frozen=True)
class Published:
    """One printed number; `value` and `stderr` are the digits as printed."""

    source: str
    table: str
    setting: str
    backbone: str
    feature_space: str
    method: str
    lam: str
    r1: str
    cfg: str
    cfg_interval: str
    metric: str
    value: str
    stderr: str


@dataclass(frozen=True)
class Rival:
    """One number that a rival's authors state, after their post-training; `base` is theirs before it, where stated."""

    source: str
    place: str
    data: str
    backbone: str
    feature_space: str
    method: str
    guidance: str
    metric: str
    value: str
    base: str


def baselines_folder() -> Path:
    """Where the package (or its source tree) keeps baselines/."""
    package = Path(str(resources.files("drlbench")))
    installed = package / "_baselines"
    return installed if installed.is_dir() else package.parent / "baselines"


@cache
def published() -> tuple[Published, ...]:
    """Every printed number of the paper's Tables 2-5.

    Raises:
        MissingPrerequisite: the file is not part of this installation.
        IntegrityError: its columns are not the expected ones.
    """
    return _read("published.csv", Published)


@cache
def rivals() -> tuple[Rival, ...]:
    """What the authors of rivals state of them; errors as `published`."""
    return _read("rivals.csv", Rival)


def _read(name: str, kind: type[T]) -> tuple[T, ...]:
    path = baselines_folder() / name
    if not path.is_file():
        raise MissingPrerequisite(f"{path}: not found; reinstall drlbench, its baselines are missing")
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        try:
            return tuple(kind(**row) for row in reader)
        except TypeError as error:
            raise IntegrityError(f"{path}: unexpected columns {reader.fieldnames}") from error


def normal(name: str) -> str:
    """A name without case and punctuation, so that `DINOv2-L` and `dinov2_l` are one."""
    bare = "".join(c for c in name.lower() if c.isalnum())
    for size in ("large", "base"):
        if bare.endswith(size) and bare != size:
            bare = bare.removesuffix(size[1:])
    return _ALIASES.get(bare, bare)


def comparable(run: RunData) -> bool:
    """Whether the paper's numbers speak about the same data as this run."""
    return len(run.record.classes) == IMAGENET_CLASSES


def paper_backbone(run: RunData, backbone: str) -> str:
    """The paper's name of a run's backbone by its family (`SiT`), or an empty string."""
    family = next((b.family for b in run.record.backbones if b.name == backbone), "")
    names = {normal(p.backbone): p.backbone for p in published()}
    return names.get(normal(family), "") if comparable(run) else ""
