"""The stages that measure: references, features, scores and preferences of any samples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache, partial
from typing import Any

from drlbench.plan.graph import Measured, Plan
from drlbench.plan.node import Node
from drlbench.registry import METRICS
from drlbench.suite.schema import GuidanceSpec


def looks_through(graph: Plan, names: Iterable[str]) -> dict[str, Node]:
    """The encoders of these names, as inputs of a stage."""
    return {f"encoder:{name}": graph.encoders[name] for name in names}


def sampling(graph: Plan, guidance: GuidanceSpec) -> Mapping[str, Any]:
    """What the samples depend on; the batch size is not part of it, because samples carry their own seeds."""

    def made() -> dict[str, Any]:
        spec = graph.spec.sampling
        # fp32 was there before there was a choice; left out, its results keep their keys.
        settings = spec.model_dump(exclude={"precision"} if spec.precision == "fp32" else None)
        own = {} if weak is None else {"guide": weak.run if weak.lambda_ is None else f"{weak.run} {weak.lambda_:g}"}
        return {**settings, "cfg": guidance.cfg, "low": guidance.low, "high": guidance.high, **own}

    weak = guidance.guide
    return graph.shared(
        ("sampling", guidance.cfg, guidance.low, guidance.high, weak and (weak.run, weak.lambda_)), made
    )


@cache
def _needs(metric: str) -> str:
    """Whether a metric looks at features or at images."""
    return str(METRICS.get(metric).needs)


def reference(graph: Plan, space: str) -> Node:
    """Features of the real images in a space."""

    def made() -> Node:
        settings = graph.shared("reference", lambda: _real(graph))
        return graph.add("reference", f"reference features, {space}", settings, encoder=graph.encoders[space])

    return graph.once(("reference", space), made)


def _real(graph: Plan) -> dict[str, Any]:
    """The real images that distances are taken to: all, or the suite's part of them."""
    part = {} if graph.spec.reference_images is None else {"limit": graph.spec.reference_images}
    return {"data": graph.images, **part}


def _measuring(graph: Plan, needs: str) -> Mapping[str, Any]:
    """Settings of the scores that look at features, or at images."""

    def made() -> dict[str, Any]:
        spec = graph.spec
        # Left out where nobody asked, so that other suites keep their keys.
        subset = {"stats_per_class": spec.stats_per_class} if needs == "images" and spec.stats_per_class else {}
        metrics = [m for m in spec.metrics if _needs(m) == needs]
        return {"resamples": spec.resamples, "data": graph.images, "metrics": metrics, **subset}

    return graph.shared(("scores", needs), made)


def scores(graph: Plan, samples: Node, space: str, label: str) -> Node:
    """The numbers of some samples in one space."""
    nothing = graph.shared("features", dict)
    features = graph.add(
        "features", f"{label}: features, {space}", nothing, samples=samples, encoder=graph.encoders[space]
    )
    inputs = {"samples": samples, "features": features, "reference": reference(graph, space)}
    return graph.add("scores", f"{label}: scores, {space}", _measuring(graph, "features"), **inputs)


def measure(graph: Plan, samples: Node, label: str, judges: Mapping[str, Node]) -> Measured:
    """Everything the suite measures of some samples."""
    spec = graph.spec
    found = {space: scores(graph, samples, space, label) for space in spec.spaces}
    on_images = _measuring(graph, "images")
    if on_images["metrics"]:
        found[""] = graph.add("scores", f"{label}: image statistics", on_images, samples=samples)
    preference = {name: judged(graph, samples, name, judge, label) for name, judge in judges.items()}
    others = {name: _other(graph, samples, name, label) for name in spec.stages}
    return Measured(samples, found, preference, others)


def judged(graph: Plan, samples: Node, name: str, judge: Node, label: str) -> Node:
    """What the stage `judge` of a reward says of some samples."""
    common = {"resamples": graph.spec.resamples, "data": graph.images, "name": name}
    settings = graph.shared(("preference", name), partial(dict, common))
    inputs = {"samples": samples, "reward": judge, **looks_through(graph, graph.spec.rewards[name].encoders)}
    return graph.add("preference", f"{label}: {name}", settings, **inputs)


def _other(graph: Plan, samples: Node, name: str, label: str) -> Node:
    """A third party's stage."""
    spec = graph.spec
    given = spec.stages[name]
    common = {"name": name, "settings": given.settings, "resamples": spec.resamples, "data": graph.images}
    return graph.add(given.kind, f"{label}: {name}", graph.shared(("stage", name), lambda: common), samples=samples)


def measure_data(graph: Plan) -> Measured:
    """The held-out images, measured like a model: the floor of every distance, the target of every statistic."""
    samples = graph.add("samples", "held-out images", _real(graph))
    judges = {name: graph.rewards[name] for name in graph.spec.preferences if name in graph.rewards}
    return measure(graph, samples, "held-out images", judges)
