"""The stage of the exact optimum beside a run, for `drlbench.plan.pipeline`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from drlbench.plan.graph import Measured, Plan
from drlbench.plan.measure import judged
from drlbench.plan.node import Node
from drlbench.seeds import seed_of
from drlbench.suite.cells import Cell


def tilt(graph: Plan, cell: Cell, made: Sequence[tuple[int, Node]], measured: Mapping[str, Measured]) -> Node | None:
    """The optimum of a run's first round at all its lambdas, from a pool of samples of the model it starts from.

    Args:
        made: the cell's (round, stage) of training; measured: its own samples and scores.
    """
    spec, run = graph.spec, graph.spec.runs[cell.run]
    first = next((node for number, node in made if number == 1 and node.kind == "finetune"), None)
    if not spec.tilt_samples or first is None or run.reward is None or not run.lambda_ or not measured:
        return None
    if run.algorithm is not None and spec.algorithms[run.algorithm].kind == "ddo":
        return None  # its reward tilts the data, not the model that it starts from
    own, lambdas = next(iter(measured.values())), list(run.lambda_)
    # One for all lambdas and RL seeds: what a run's cells fit and are judged by hangs on the model they start from.
    alike = ("tilt", cell.run, cell.backbone, cell.base_seed, first.inputs["start"])
    return graph.once(alike, lambda: _tilt(graph, cell, lambdas, first, own))


def terms(graph: Plan, cell: Cell, first: Node, measured: Mapping[str, Measured]) -> dict[str, Node]:
    """What each reward term of the first round says of the cell's unguided samples, for the share that it attained.

    A term among the suite's `preferences` is the same stage, unless its discriminator was fitted to another run's
    samples. Nothing where the cell is measured under guidance only.
    """
    unguided = next((m for g in graph.spec.guidance if g.cfg == 1 and (m := measured.get(g.name))), None)
    if unguided is None:
        return {}
    own = {name.removeprefix("reward:"): key for name, (_, key) in first.inputs.items() if name.startswith("reward:")}
    return {
        name: judged(graph, unguided.samples, name, graph.nodes[key], f"{cell.id}: attained")
        for name, key in own.items()
    }


def _tilt(graph: Plan, cell: Cell, lambdas: list[float], first: Node, own: Measured) -> Node:
    spec, run = graph.spec, graph.spec.runs[cell.run]
    label = f"{cell.backbone} base {cell.base_seed}: tilt of {cell.run}"
    start = graph.nodes[first.inputs["start"][1]]
    # Other seeds than those the cells are measured with.
    unguided = {"cfg": 1.0, "low": 0.0, "high": 1.0}
    pool = {**own.samples.settings, **unguided, "n": spec.tilt_samples, "seed": seed_of("tilt", spec.sampling.seed)}
    samples = graph.add("samples", f"{label}: samples", pool, model=start)
    inputs = {"samples": samples}
    inputs |= {
        name: graph.nodes[key] for name, (_, key) in first.inputs.items() if name.startswith(("reward:", "encoder:"))
    }
    # The suite's other preferences judge the tilt as they judge cells; its own terms are those of its first round.
    for name, score in own.preference.items():
        if f"reward:{name}" not in inputs:
            inputs[f"reward:{name}"] = graph.nodes[score.inputs["reward"][1]]
            inputs |= {n: graph.nodes[key] for n, (_, key) in score.inputs.items() if n.startswith("encoder:")}
    scores = own.scores
    spaces = [space for space in scores if space]
    for space in spaces:
        inputs[f"features:{space}"] = graph.add(
            "features", f"{label}: features, {space}", {}, samples=samples, encoder=graph.encoders[space]
        )
        inputs[f"reference:{space}"] = graph.nodes[scores[space].inputs["reference"][1]]
    others = [m for m in scores[spaces[0]].settings["metrics"] if m != "fd"] if spaces else []
    settings = {
        "fixed": dict(run.with_),
        "varied": run.reward,
        "lambdas": lambdas,
        "spaces": spaces,
        "metrics": others,
        "draw": spec.sampling.n,
        "resamples": spec.resamples,
        "data": first.settings["data"],
    }
    return graph.add("tilt", label, settings, **inputs)
