"""drlbench: an evaluation-first benchmark for RL post-training of flow-matching image models.

What is importable from here is public and stays; each is loaded on first use, so that `import drlbench` brings no
torch. Everything else is inside.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from drlbench.backbones import create
    from drlbench.data.images import open_images
    from drlbench.data.sources import load_dataset
    from drlbench.encoders import make_encoder
    from drlbench.metrics.measure import measure
    from drlbench.report.load import load_run
    from drlbench.rewards import make_reward
    from drlbench.sampling import official_sample
    from drlbench.suite.load import load_suite

__version__ = "0.1.0"

# Public name -> its module; the imports above say the same to type checkers.
DOORS = {
    "create": "drlbench.backbones",
    "load_dataset": "drlbench.data.sources",
    "load_run": "drlbench.report.load",
    "load_suite": "drlbench.suite.load",
    "make_encoder": "drlbench.encoders",
    "make_reward": "drlbench.rewards",
    "measure": "drlbench.metrics.measure",
    "official_sample": "drlbench.sampling",
    "open_images": "drlbench.data.images",
}

__all__ = [
    "create",
    "load_dataset",
    "load_run",
    "load_suite",
    "make_encoder",
    "make_reward",
    "measure",
    "official_sample",
    "open_images",
]  # a literal, as type checkers want it; the table's names


def __getattr__(name: str) -> Any:
    if name not in DOORS:
        raise AttributeError(f"module 'drlbench' has no attribute '{name}'; public: {', '.join(__all__)}")
    found = getattr(importlib.import_module(DOORS[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
