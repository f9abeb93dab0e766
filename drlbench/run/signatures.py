"""The signature of a run's number: what it depends on, read from the stages that it was made by.

Stages keep hashes of what they fitted; the signature is put together only here, when the run's folder is written.
"""

from __future__ import annotations

import json
from typing import Any

from drlbench.metrics.signature import make_signature, sampler_part
from drlbench.plan.graph import Plan
from drlbench.plan.node import Node
from drlbench.stages import KL_T_MAX
from drlbench.store import atomic
from drlbench.store.layout import Store

SHOWN = 8  # hex digits of a hash


def signature(plan: Plan, store: Store, node: Node, row: dict[str, Any]) -> str:
    """Everything a row of a `scores`, `preference`, `kl` or `tilt` stage depends on."""
    parts: dict[str, str | int | float] = {}
    if node.kind == "preference":
        parts["reward"] = str(described(store, _input(plan, node, "reward")).get("signature", ""))
    elif node.kind == "kl":
        parts |= {"ref": f"base:{_weights(store, _input(plan, node, 'base'))}", "tmax": KL_T_MAX}
        parts["sampler"] = sampler_part(node.settings["sampling"])
    elif node.kind == "tilt":
        rewards = sorted(name for name in node.inputs if name.startswith("reward:"))
        parts["reward"] = "+".join(
            str(described(store, _input(plan, node, name)).get("signature", "")) for name in rewards
        )
        if row["space"]:
            parts["enc"] = str(described(store, plan.encoders[row["space"]]).get("signature", ""))
        parts["ref"] = f"{node.settings['data']['kind']}:{node.settings['data']['fingerprint'][:SHOWN]}"
    else:
        part = ""
        if "reference" in node.inputs:
            reference = _input(plan, node, "reference")
            part = reference.settings.get("limit", "")
            encoder = _input(plan, reference, "encoder")
            parts["enc"] = str(described(store, encoder).get("signature", ""))
        data = node.settings["data"]
        parts["ref"] = f"{data['kind']}:{data['fingerprint'][:SHOWN]}{f'/{part}' if part else ''}"
    if "samples" in node.inputs:
        parts["sampler"] = str(described(store, _input(plan, node, "samples")).get("sampler", ""))
    parts |= {"n": row["n"], "code": f"{node.kind}.{node.version}"}
    return make_signature(row["metric"], parts)


def described(store: Store, node: Node) -> dict[str, Any]:
    """What a stage says of itself, or an empty mapping when it was not made."""
    if not store.has(node.kind, node.key):
        return {}
    text: dict[str, Any] = json.loads((store.folder(node.kind, node.key) / "description.json").read_text())
    return text


def _input(plan: Plan, node: Node, name: str) -> Node:
    return plan.nodes[node.inputs[name][1]]


def _weights(store: Store, node: Node) -> str:
    """Hash of a base model's network, of its file where the weights stayed there."""
    folder = store.folder(node.kind, node.key)
    if not store.has(node.kind, node.key):
        return ""
    files = atomic.read_marker(folder)["files"]
    if "weights.safetensors" in files:
        return str(files["weights.safetensors"]["sha256"])[:SHOWN]
    config = json.loads((folder / "config.json").read_text())
    return str(config["checkpoint"]["sha256"])[:SHOWN]
