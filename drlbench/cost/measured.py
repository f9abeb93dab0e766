"""What was measured: benchmarks of networks, and stages that a store or a kept record has seen.

A benchmark is a JSON file of `drlbench bench` in baselines/bench (or the folder DRLBENCH_BENCH). A record of stages is
baselines/stages/<device>.json: for each sort of stage, by how much its seconds differ from what `Device` makes of the
counted work. `python -m drlbench.cost.measured STORE DEVICE` prints one of a store.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from drlbench.backbones.sizes import size_key
from drlbench.cost.counts import Counts
from drlbench.cost.networks import named, text
from drlbench.cost.work import ASSUMED, Rate, Work
from drlbench.errors import IntegrityError
from drlbench.plan.node import Node
from drlbench.store.atomic import read_file, read_marker
from drlbench.store.layout import Store

MOST = 400  # stages that are read off a store

PAPER_HOURS = {"sit": 190.0, "repa": 190.0, "jit": 500.0, "rae": 420.0}
"""H200-hours that the paper reports for one lambda (3,000 updates), by family."""


def _folders(name: str) -> list[Path]:
    here = Path(__file__).resolve().parents[1]
    return [here / "_baselines" / name, here.parent / "baselines" / name]


def benchmarks() -> Iterator[dict[str, Any]]:
    """Every result with the hours of the paper's recipe; those of DRLBENCH_BENCH first."""
    folders = _folders("bench")
    if "DRLBENCH_BENCH" in os.environ:
        folders.insert(0, Path(os.environ["DRLBENCH_BENCH"]))
    for path in (p for folder in folders for p in sorted(folder.glob("*.json"))):
        try:
            result = json.loads(path.read_text())
        except (OSError, ValueError):
            continue
        if isinstance(result, dict) and result.get("total_hours"):
            yield result


def network_rates(device: str) -> dict[Rate, tuple[float, str]]:
    """Network -> TFLOP/s that it reached over the whole recipe on a device of that kind, and where."""
    found: dict[Rate, tuple[float, str]] = {}
    for result in benchmarks():
        if (device == "cpu") != (result.get("device") == "cpu"):
            continue
        name, given = str(result["backbone"]), result.get("architecture") or {}
        tflops = float(result["floor_hours"]) * float(result["peak_tflops"]) / float(result["total_hours"])
        for large in (False, True):
            rate = Rate(named((size_key(name) if large else name, text(given))), str(result["precision"]), large)
            found.setdefault(rate, (tflops, f"{name} in {rate.precision} measured on {result['device']}"))
    return found


@dataclass(frozen=True)
class Ratios:
    """Seconds over what the counted work would take, by sort of stage, and where they were measured."""

    of: Mapping[str, float]
    where: str

    def find(self, node: Node, nodes: Mapping[str, Node]) -> tuple[float, str] | None:
        """Of a stage's own sort, else of its kind."""
        for name in (sort_of(node, nodes), node.kind):
            if name in self.of:
                return self.of[name], self.where
        return None


def sort_of(node: Node, nodes: Mapping[str, Node]) -> str:
    """A stage's kind, and the algorithm, encoder or reward that it is about."""
    about = node.settings.get("algorithm") or node.settings.get("kind")
    for name in ("encoder", "reward"):
        if about is None and name in node.inputs and node.inputs[name][1] in nodes:
            about = nodes[node.inputs[name][1]].settings.get("kind")
    return f"{node.kind} {about}" if about else node.kind


@cache
def recorded(device: str) -> Ratios | None:
    """The record that is kept of a kind of device."""
    for path in (folder / f"{device}.json" for folder in _folders("stages")):
        if path.is_file():
            record = json.loads(path.read_text())
            return Ratios(record["ratios"], f"recorded on {record['machine']}")
    return None


def stages_of(store: Store) -> tuple[dict[str, Node], dict[str, float]]:
    """Stages that a store holds, at most `MOST`, and the seconds that they took."""
    nodes: dict[str, Node] = {}
    seconds: dict[str, float] = {}
    raw = []
    for kind, folder in store.entries():
        try:
            marker = read_marker(folder)
            seconds[folder.name] = float(json.loads(read_file(folder, marker.key, "seconds.json")))
        except (IntegrityError, ValueError, TypeError):
            continue  # `verify` is who says so; an estimate does without it
        raw.append((kind, marker))
        if len(raw) == MOST:
            break
    kinds = {marker.key: kind for kind, marker in raw}
    for kind, marker in raw:
        inputs = {name: (kinds.get(key, ""), key) for name, key in marker.inputs.items()}
        nodes[marker.key] = Node(marker.key, kind, marker.version, marker.settings, inputs, marker.label)
    return nodes, seconds


def measured(store: Store, device: str, rates: Mapping[Rate, float], data: Any = None) -> Ratios:
    """What the stages of a store took over what their work would take; with `data`, of these images only."""
    nodes, seconds = stages_of(store)
    if data is not None:
        nodes = {key: node for key, node in nodes.items() if node.settings.get("data", data) == data}
    counts, at = Counts(nodes), ASSUMED[device]
    spent: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for key, node in nodes.items():
        work = counts.of(node)
        if isinstance(work, Work) and key in seconds:
            for name in {sort_of(node, nodes), node.kind}:
                spent[name].append((seconds[key], at.seconds(work, rates)))
    ratios = {n: math.fsum(s for s, _ in pairs) / math.fsum(m for _, m in pairs) for n, pairs in spent.items()}
    return Ratios(ratios, "measured in this store")


if __name__ == "__main__":
    from drlbench.store.provenance import hardware

    kind = sys.argv[2]
    made = measured(Store(Path(sys.argv[1])), kind, {})
    rounded = {name: round(ratio, 3) for name, ratio in sorted(made.of.items())}
    print(json.dumps({"machine": hardware()["processor"], "ratios": rounded}, indent=1))
