"""Results of `drlbench bench` that were kept: one JSON file each in baselines/bench, or in the folder DRLBENCH_BENCH.

Nothing here imports torch.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from drlbench.backbones.sizes import size_key
from drlbench.cost.arithmetic import TERA

HOUR = 3600.0


def benchmarks() -> Iterator[dict[str, Any]]:
    """Every result with the hours of the paper's recipe; those of DRLBENCH_BENCH first."""
    here = Path(__file__).resolve().parents[1]
    folders = [here / "_baselines" / "bench", here.parent / "baselines" / "bench"]
    if "DRLBENCH_BENCH" in os.environ:
        folders.insert(0, Path(os.environ["DRLBENCH_BENCH"]))
    for path in (p for folder in folders for p in sorted(folder.glob("*.json"))):
        try:
            result = json.loads(path.read_text())
        except (OSError, ValueError):
            continue
        if isinstance(result, dict) and result.get("total_hours"):
            yield result


def measured_share(name: str, floor: float) -> tuple[float, str] | None:
    """Share of the peak that an official size reached on an H200, and where; `floor` are its hours at the peak."""
    for result in benchmarks():
        if "H200" in str(result.get("device")) and size_key(str(result.get("backbone"))) == size_key(name):
            return floor / float(result["total_hours"]), f"{name} measured on {result['device']}"
    return None


def measured_tflops(family: str, architecture: Mapping[str, Any], precision: str, device: str) -> float | None:
    """TFLOP/s that a network trained here reached over the whole recipe, on a device of that kind ("cpu" or "cuda")."""
    for result in benchmarks():
        kind = "cpu" if result.get("device") == "cpu" else "cuda"
        if (result.get("backbone"), result.get("architecture"), result.get("precision"), kind) == (
            family, dict(architecture), precision, device,
        ):  # fmt: skip
            operations = float(result["floor_hours"]) * float(result["peak_tflops"]) * TERA
            return operations / float(result["total_hours"]) / TERA
    return None
