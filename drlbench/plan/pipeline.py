"""The only file that knows the order of the stages.

data -> encoder -> reference
base -> (reward -> finetune) x rounds -> samples -> features -> scores
                                                 -> preference, kl, trajectory
"""

from __future__ import annotations

from drlbench.errors import UserError, did_you_mean, shown
from drlbench.garbage import uncollected
from drlbench.plan.graph import CellPlan, Plan
from drlbench.plan.measure import measure, measure_data, sampling
from drlbench.plan.models import base, begun, judge, model
from drlbench.plan.node import Node
from drlbench.plan.tilt import terms, tilt
from drlbench.suite.cells import Cell, guide, matches
from drlbench.suite.load import Suite
from drlbench.suite.schema import GuidanceSpec


def lay_out(suite: Suite, *patterns: str, limit: int | None = None, absent_ok: bool = False) -> Plan:
    """Lay out every stage of a suite.

    Args:
        patterns: of ids of the cells to make, with * and ?; none: all. What a cell starts from is made with it.
        limit: the first so many of them only.
        absent_ok: plan without the images too, where they are not here.

    Raises:
        UserError: a pattern matches no cell. MissingPrerequisite: the images are not here.
    """
    wanted = [c for c in suite.cells if matches(c.id, patterns)][:limit]
    for pattern in patterns:
        if not any(matches(c.id, (pattern,)) for c in suite.cells):
            names = [c.id for c in suite.cells]
            near = did_you_mean(pattern, names[:1000]) or f": ids look like '{names[0]}' and '{names[-1]}'"
            raise UserError(f"--cells '{shown(pattern)}' matches none of the {len(names)} cells{near}")
    if suite.images.absent is not None and not absent_ok:
        raise suite.images.absent
    graph = begun(suite)
    with uncollected():  # a third of the time
        graph.cells = [_cell(graph, cell) for cell in wanted]
    graph.data = measure_data(graph)
    return graph


def _cell(graph: Plan, cell: Cell) -> CellPlan:
    spec = graph.spec
    start = base(graph, cell.backbone, cell.base_seed)
    made, training = model(graph, cell)
    measured = {}
    judges = {name: judge(graph, cell, name) for name in spec.preferences}
    name = cell.id
    for guidance in spec.guidance:
        if guidance.runs is None or cell.run in guidance.runs:
            weak = guide(spec, cell, guidance)
            models = {"model": made} if weak is None else {"model": made, "guide": model(graph, weak)[0]}
            samples = graph.add("samples", f"{name}: samples, {guidance.name}", sampling(graph, guidance), **models)
            measured[guidance.name] = measure(graph, samples, f"{name}: {guidance.name}", judges)
    kl = None
    if spec.kl_samples and made is not start:
        settings = graph.shared(
            "kl",
            lambda: {
                "n": spec.kl_samples,
                "sampling": sampling(graph, GuidanceSpec(name="none")),
                "data": graph.images,
            },
        )
        kl = graph.add("kl", f"{name}: KL from the base", settings, model=made, base=start)
    optimum, kl_start, attained = tilt(graph, cell, training, measured), None, {}
    if optimum is not None:
        first = next(node for _, node in training if node.kind == "finetune")
        attained = terms(graph, cell, first, measured)
        if kl is not None and spec.runs[cell.run].start is not None:
            begun = graph.nodes[first.inputs["start"][1]]
            kl_start = graph.add("kl", f"{name}: KL from its start", kl.settings, model=made, base=begun)
    trajectory = _trajectory(graph, cell, made, start)
    return CellPlan(cell, made, training, measured, kl, trajectory, optimum, kl_start, attained)


def _trajectory(graph: Plan, cell: Cell, made: Node, start: Node) -> Node | None:
    """Norms along the memoryless SDE, as the cell's own integrator runs it, on the model and on its base."""
    spec = graph.spec
    name = spec.runs[cell.run].algorithm
    if not spec.trajectory_samples or name is None or spec.algorithms[name].kind != "adjoint-matching":
        return None
    given = graph.suite.tuning(cell)
    settings = {
        "n": spec.trajectory_samples,
        "seed": spec.sampling.seed,
        "settings": {k: given[k] for k in ("integrator", "steps") if k in given},
    }
    return graph.add("trajectory", f"{cell.id}: norms of X_t", settings, model=made, base=start)
