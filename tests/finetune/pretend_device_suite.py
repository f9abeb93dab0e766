"""Every stage of a small suite, on a device that only pretends and on the CPU; prints a line of JSON for each."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import pretend_device
import torch
from pretend_device_run import compare
from torch.nn.attention import SDPBackend, sdpa_kernel

from drlbench.plan.graph import Plan
from drlbench.plan.pipeline import lay_out
from drlbench.run.executors.base import Outcome, Work
from drlbench.run.executors.work import make
from drlbench.store.layout import Store
from drlbench.suite.load import load_suite

SUITE = Path(__file__).with_name("pretend_device.yaml")
# What a stage says in JSON. A description's signatures hold hashes of weights, which differ where rounding does.
TOLD = ("curve.json", "rows.json", "gate.json")


def run(plan: Plan, store: Store, place: str) -> dict[str, Outcome]:
    """All stages one after the other in this process, as a worker does them."""
    outcomes = {}
    for key, node in plan.nodes.items():
        outcomes[key] = make(node, Work(store.root, place), place, lambda done: None)
        told: dict[str, Any] = {"scenario": f"{place}: {node.kind}: {node.label}"}
        if outcomes[key].status != "made":
            told["error"] = f"{outcomes[key].error}\n{outcomes[key].detail}"
        if place != "cpu":
            told |= {n: dict(getattr(pretend_device.Mode, n)) for n in ("reads", "moves", "unseeded")}
            pretend_device.clear()
        print(json.dumps(told), flush=True)
    return outcomes


def numbers(folder: Path) -> list[Any]:
    found = [json.loads((folder / name).read_text()) for name in TOLD if (folder / name).is_file()]
    for part in found:
        for row in part if isinstance(part, list) else []:
            row.pop("signature", None)
    return found


def main() -> None:
    torch.set_num_threads(1)
    suite = load_suite(SUITE)
    plan = lay_out(suite)
    with tempfile.TemporaryDirectory() as place, sdpa_kernel(SDPBackend.MATH):
        here, there = Store(Path(place) / "cpu"), Store(Path(place) / "device")
        run(plan, here, "cpu")
        with pretend_device.Mode():
            run(plan, there, pretend_device.DEVICE)
        for key, node in plan.nodes.items():
            one, two = (numbers(store.folder(node.kind, key)) for store in (here, there))
            same, difference = compare(one, two)
            print(
                json.dumps({"stage": f"{node.kind}: {node.label}", "same": same, "difference": difference}), flush=True
            )


if __name__ == "__main__":
    sys.exit(main())
