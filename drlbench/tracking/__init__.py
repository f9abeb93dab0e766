"""Live metrics elsewhere: a fine-tune's rows, as they appear, in TensorBoard or Weights & Biases; none comes back.

They go to `metrics.jsonl` in any case. A tracker is how a run is looked at, so it is part of no key.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from drlbench.errors import MissingPrerequisite, UserError, did_you_mean

TRACKERS = {"tensorboard": "TensorBoard", "wandb": "WeightsAndBiases"}  # name of package and module -> class


@dataclass(frozen=True)
class Tracking:
    """What is wanted: a tracker by name, the run's folder, the suite's name, and of one stage its label and key."""

    tracker: str
    folder: Path
    suite: str
    label: str = ""
    key: str = ""


class Tracker(Protocol):
    """One stage's rows on their way out."""

    def log(self, row: Mapping[str, Any]) -> None:
        """Send a row; its `update` (from 1) is the step."""

    def close(self) -> None:
        """Flush and end."""


def check_tracker(name: str) -> None:
    """Refuse a tracker that would fail once the run is under way.

    Raises:
        UserError: unknown name. MissingPrerequisite: its package is not installed, or it needs a login.
    """
    if name not in TRACKERS:
        raise UserError(f"--tracker {name!r}{did_you_mean(name, TRACKERS)}; valid: {', '.join(TRACKERS)}")
    if importlib.util.find_spec(name) is None:
        raise MissingPrerequisite(f"--tracker {name} needs a package that is not installed: pip install {name}")
    online = name == "wandb" and os.environ.get("WANDB_MODE") not in ("offline", "disabled", "dryrun")
    if online and not importlib.import_module("wandb").login(prompt=False):
        raise MissingPrerequisite("--tracker wandb: not logged in; run `wandb login`, or set WANDB_MODE=offline")


def open_tracker(tracking: Tracking, settings: Mapping[str, Any]) -> Tracker:
    """Start tracking one stage; `settings` are shown beside its curves."""
    kind = getattr(importlib.import_module(f"drlbench.tracking.{tracking.tracker}"), TRACKERS[tracking.tracker])
    tracker: Tracker = kind(tracking, settings)
    return tracker
