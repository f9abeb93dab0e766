"""The stages of a run: pure functions from inputs' folders and settings to one folder in the store.

`VERSIONS` is the meaning of each stage's code: raise it when the same settings give other numbers. It stands
here, apart from the code, so that planning a run imports no torch.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drlbench.registry import STAGES, build
from drlbench.tracking import Tracking

VERSIONS = {
    "encoder": 1,
    "reference": 1,
    "base": 1,
    "gate": 2,
    "reward": 2,
    "finetune": 4,
    "samples": 1,
    "features": 1,
    "scores": 5,
    "preference": 4,
    "kl": 2,
    "trajectory": 1,
    "tilt": 5,
}

# JiT's velocity is clamped beyond, and one bound for all keeps the axis of the KL the same.
KL_T_MAX = 0.95

# Stages that run on all ranks of `drlbench run --ranks`; every other one is a single process.
ON_RANKS = frozenset({"finetune"})


@dataclass(frozen=True)
class Job:
    """What a stage's function gets to see.

    Attributes:
        settings: everything that changes the result.
        inputs: name -> finished folder of another stage.
        out: the empty folder to fill.
        partial: a folder that survives a kill, for work that can be taken up again.
        device: where to compute; not part of the key.
        progress: called with a fraction done in [0, 1].
        tracking: where rows of training are shown while it goes on; not part of the key.
    """

    settings: Mapping[str, Any]
    inputs: Mapping[str, Path]
    out: Path
    partial: Path
    device: str
    progress: Callable[[float], None]
    tracking: Tracking | None = None


def version_of(kind: str) -> int:
    """What the code of a kind of stage means: ours, or a third party's."""
    return VERSIONS.get(kind) or int(STAGES.get(kind).version)


def stage_function(kind: str, settings: Mapping[str, Any]) -> Callable[[Job], None]:
    """The function of a stage: `run` in the module of its name, or of a third party's kind."""
    function: Callable[[Job], None] = _declared(kind, settings).run
    return function


def cost_function(kind: str, settings: Mapping[str, Any]) -> Callable[[Any], Any] | None:
    """What a stage declares as its cost, beside its `run`."""
    return getattr(_declared(kind, settings), "cost", None)


def _declared(kind: str, settings: Mapping[str, Any]) -> Any:
    if kind in VERSIONS:
        return importlib.import_module(f"drlbench.stages.{kind}")
    return build(STAGES.get(kind), f"stage '{settings['name']}'", settings["settings"])
