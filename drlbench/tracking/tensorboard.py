"""Rows as TensorBoard event files under `<run folder>/tensorboard/<label>`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from drlbench.tracking import Tracking


class TensorBoard:
    """See `drlbench.tracking.Tracker`."""

    def __init__(self, tracking: Tracking, settings: Mapping[str, Any]) -> None:
        name = re.sub(r"[^\w.=+-]+", "_", tracking.label)
        self.folder = tracking.folder / "tensorboard" / f"{name}-{tracking.key[:8]}"
        self.settings = settings
        self.writer: SummaryWriter | None = None

    def log(self, row: Mapping[str, Any]) -> None:
        step = row["update"]
        if self.writer is None:
            # A continued run repeats the rows after its checkpoint; the ones it repeats are purged.
            self.writer = SummaryWriter(str(self.folder), purge_step=step)
            self.writer.add_text("settings", f"```\n{json.dumps(self.settings, indent=1, default=str)}\n```", step)
        for name, value in row.items():
            if name != "update":
                self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
