"""The stages of a gate: the base reproduces what was published before anything is trained on it."""

from __future__ import annotations

from pathlib import Path

from drlbench.backbones.cards import CARDS, published_fid
from drlbench.backbones.origin import identity
from drlbench.plan.graph import Plan
from drlbench.plan.measure import sampling, scores
from drlbench.plan.node import Node
from drlbench.store.atomic import file_sha256
from drlbench.suite.parts import GateSpec


def gate(graph: Plan, backbone: str, base: Node) -> Node | None:
    """The stage that every fine-tune of a backbone waits for, where the suite states an FD for its base."""
    stated = graph.spec.backbones[backbone]
    if stated.gate is None:
        return None
    card = stated.gate_card
    return (
        _own_gate(graph, backbone, base, stated.gate)
        if card is None
        else _card_gate(graph, backbone, base, stated.gate, card)
    )


def _own_gate(graph: Plan, backbone: str, base: Node, gate: GateSpec) -> Node:
    """The gate on the suite's own samples, which are measured anyway."""
    spec = graph.spec
    guidance = next(g for g in spec.guidance if gate.guidance in (None, g.name))
    label = f"{backbone} base: {guidance.name}"
    samples = graph.add("samples", f"{backbone} base: samples, {guidance.name}", sampling(graph, guidance), model=base)
    stated = gate.model_dump(include={"space", "fd", "tolerance", "source"})
    how = f"{spec.sampling.sampler}{spec.sampling.steps or ''}, guidance {guidance.name}, {spec.sampling.n:,} samples"
    settings = {**stated, "backbone": backbone, "how": how, "published_n": spec.sampling.n}
    return graph.add("gate", f"{backbone} base: gate", settings, scores=scores(graph, samples, gate.space, label))


def _card_gate(graph: Plan, backbone: str, base: Node, gate: GateSpec, card: str) -> Node:
    """The gate under a card's own protocol, which has samples of its own."""
    _, number, how = published_fid(card)
    sampling = {
        "sampler": f"official:{how.method}",
        "steps": how.steps,
        "cfg": how.cfg,
        "low": how.low,
        "high": how.high,
    }
    settings = {"n": gate.n or how.n, "seed": graph.spec.sampling.seed, **sampling, "labels": how.labels}
    inputs = {"model": base}
    if how.guide:
        weak = CARDS[how.guide]
        inputs["guide"] = graph.add(
            "base",
            f"{backbone} base: {how.guide}, its guide",
            {
                "model": {"name": weak.size, "architecture": {}, "ema": None},
                "identity": identity(how.guide, "pixels"),
                "where": {"checkpoint": how.guide, "autoencoder": "pixels"},
            },
        )
    label = f"{backbone} base: as published"
    samples = graph.add("samples", f"{label}: samples", settings, **inputs)
    features = graph.add(
        "features", f"{label}: features, {gate.space}", {}, samples=samples, encoder=graph.encoders[gate.space]
    )
    statistics = gate.statistics and Path(gate.statistics).expanduser()
    stated = {
        "fd": number.value,
        "source": number.source,
        "how": how.to_text(),
        "published_n": how.n,
        "reference": file_sha256(statistics) if statistics and statistics.is_file() else how.reference,
        "where": {"statistics": gate.statistics},
    }
    settings = {"space": gate.space, "tolerance": gate.tolerance, "backbone": backbone, **stated}
    return graph.add("gate", f"{backbone} base: gate, {card}'s protocol", settings, features=features)
