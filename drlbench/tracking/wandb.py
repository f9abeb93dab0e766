"""Rows as a Weights & Biases run: project drlbench, one group per suite, one run per stage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import wandb

from drlbench.tracking import Tracking


class WeightsAndBiases:
    """See `drlbench.tracking.Tracker`."""

    def __init__(self, tracking: Tracking, settings: Mapping[str, Any]) -> None:
        tracking.folder.mkdir(parents=True, exist_ok=True)
        self.run = wandb.init(
            project="drlbench",
            group=tracking.suite,
            name=tracking.label,
            id=tracking.key[:16],
            resume="allow",
            dir=str(tracking.folder),
            config=dict(settings),
        )

    def log(self, row: Mapping[str, Any]) -> None:
        self.run.log({name: value for name, value in row.items() if name != "update"}, step=row["update"])

    def close(self) -> None:
        self.run.finish()
