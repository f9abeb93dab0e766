"""The signature of a run's number: what it depends on, read from the stages that it was made by.

Stages keep hashes of what they fitted; the signature is put together only here, when the run's folder is written.
"""

from __future__ import annotations

import hashlib
from typing import Any

from drlbench.metrics.signature import make_signature, sampler_part
from drlbench.plan.graph import Plan
from drlbench.plan.node import Node
from drlbench.run.reading import Reader, Score
from drlbench.stages import KL_T_MAX
from drlbench.store.keys import canonical

SHOWN = 8  # hex digits of a hash


def signature(plan: Plan, reader: Reader, node: Node, score: Score) -> str:
    """Everything a number of a `scores`, `preference`, `kl` or `tilt` stage depends on.

    Raises:
        IntegrityError: a stage that it names is damaged.
    """
    parts: dict[str, str | int | float] = {}
    if node.kind == "preference":
        parts["reward"] = str(_described(reader, _input(plan, node, "reward")).get("signature", ""))
    elif node.kind == "kl":
        parts |= {"ref": f"base:{_weights(reader, _input(plan, node, 'base'))}", "tmax": KL_T_MAX}
        parts["sampler"] = sampler_part(node.settings["sampling"])
    elif node.kind == "tilt":
        terms = {f"reward:{name}" for name in (*node.settings["fixed"], node.settings["varied"])}
        judge = f"reward:{score.metric.removeprefix('tilt_')}"
        rewards = [*sorted(terms), *({judge} & node.inputs.keys() - terms)]
        parts["reward"] = "+".join(
            str(_described(reader, _input(plan, node, name)).get("signature", "")) for name in rewards
        )
        if score.space:
            parts["enc"] = str(_described(reader, plan.encoders[score.space]).get("signature", ""))
        parts["ref"] = f"{node.settings['data']['kind']}:{node.settings['data']['fingerprint'][:SHOWN]}"
    else:
        part = ""
        if "reference" in node.inputs:
            reference = _input(plan, node, "reference")
            part = reference.settings.get("limit", "")
            encoder = _input(plan, reference, "encoder")
            parts["enc"] = str(_described(reader, encoder).get("signature", ""))
        if "settings" in node.settings:  # a third party's
            parts["set"] = hashlib.sha256(canonical(node.settings["settings"]).encode()).hexdigest()[:SHOWN]
        data = node.settings["data"]
        parts["ref"] = f"{data['kind']}:{data['fingerprint'][:SHOWN]}{f'/{part}' if part else ''}"
    if "samples" in node.inputs:
        parts["sampler"] = str(_described(reader, _input(plan, node, "samples")).get("sampler", ""))
    parts |= {"n": score.n, "code": f"{node.kind}.{node.version}"}
    return make_signature(score.metric, parts)


def _input(plan: Plan, node: Node, name: str) -> Node:
    return plan.nodes[node.inputs[name][1]]


def _described(reader: Reader, node: Node) -> dict[str, Any]:
    return reader.record(node, "description.json", dict[str, Any]) if reader.has(node) else {}


def _weights(reader: Reader, node: Node) -> str:
    """Hash of a base model's network, of its file where the weights stayed there."""
    if not reader.has(node):
        return ""
    files = reader.marker(node).files
    if "weights.safetensors" in files:
        return files["weights.safetensors"].sha256[:SHOWN]
    config = reader.record(node, "config.json", dict[str, Any])
    return str(config["checkpoint"]["sha256"])[:SHOWN]
