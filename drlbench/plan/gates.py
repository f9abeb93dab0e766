"""The stages of a base gate that follows a checkpoint's card, for `drlbench.plan.pipeline`."""

from __future__ import annotations

from pathlib import Path

from drlbench.backbones.cards import CARDS, published_fid
from drlbench.backbones.origin import identity
from drlbench.plan.graph import Plan
from drlbench.plan.node import Node
from drlbench.store.atomic import file_sha256
from drlbench.suite.schema import GateSpec


def card_gate(graph: Plan, backbone: str, base: Node, gate: GateSpec, card: str) -> Node:
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
