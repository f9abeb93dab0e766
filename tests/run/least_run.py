"""The store of a run of the least suite that has every kind of step, for tests to look at and to damage."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from drlbench.plan.graph import CellPlan, Plan
from drlbench.plan.node import Node
from drlbench.plan.pipeline import lay_out
from drlbench.run.executors.base import Work
from drlbench.run.executors.local import InProcessExecutor
from drlbench.run.schedule import execute
from drlbench.store.layout import Store
from drlbench.suite.load import Suite, load_suite

LEAST = Path(__file__).parents[1] / "fault" / "least.yaml"  # base, and drl at two lambdas


@dataclass
class Least:
    """The suite, its plan, and a store with the result of every stage."""

    suite: Suite
    plan: Plan
    store: Store

    def cell(self, run: str, lambda_: float | None = None) -> CellPlan:
        (found,) = (c for c in self.plan.cells if (c.cell.run, c.cell.lambda_) == (run, lambda_))
        return found

    def damage(self, node: Node, name: str) -> None:
        """Flip one bit of a file of a stage."""
        path = self.store.folder(node.kind, node.key) / name
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.chmod(0o644)
        path.write_bytes(content)


def make(root: Path) -> Least:
    """All stages, made in this process: 2 CPU s."""
    suite = load_suite(LEAST)
    made = Least(suite, lay_out(suite), Store(root))
    outcomes = execute(
        list(made.plan.nodes.values()), made.store, InProcessExecutor(Work(root, "cpu"), "cpu"), lambda *_: None
    )
    assert {o.status for o in outcomes.values()} == {"made"}
    return made
