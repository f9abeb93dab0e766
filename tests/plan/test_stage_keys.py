"""The keys of the embedded suite: results that users have in their stores stay theirs.

A change here is a change of what a stage computes. Then its version rises in `drlbench/stages/__init__.py` and the
CHANGELOG says why; `keys.json` is written anew by `python tests/plan/test_stage_keys.py`.
"""

from __future__ import annotations

import json
from pathlib import Path

from drlbench.plan.pipeline import lay_out
from drlbench.suite.load import load_suite

PINNED = Path(__file__).with_name("keys.json")


def keys() -> dict[str, list[str]]:
    """Kind of stage -> the first 16 digits of each key, in order of the label."""
    found: dict[str, list[tuple[str, str]]] = {}
    for node in lay_out(load_suite("digits")).nodes.values():
        found.setdefault(node.kind, []).append((node.label, node.key[:16]))
    return {kind: [key for _, key in sorted(pairs)] for kind, pairs in sorted(found.items())}


def test_the_digits_suite_keeps_its_stage_keys() -> None:
    pinned = json.loads(PINNED.read_text())
    now = keys()
    assert sorted(now) == sorted(pinned)
    for kind in pinned:
        assert now[kind] == pinned[kind], f"{kind}: {len(set(now[kind]) ^ set(pinned[kind]))} keys changed"


def test_a_new_metric_repeats_no_training() -> None:
    few, more = (
        lay_out(load_suite("digits-small", (f"metrics=[{m}]", "spaces=[pixels]"))) for m in ("fd", "fd, kd, prdc")
    )
    trained = [
        {n.key for n in plan.nodes.values() if n.kind in ("base", "finetune", "samples")} for plan in (few, more)
    ]
    assert trained[0] == trained[1] and trained[0]
    scores = [{n.key for n in plan.nodes.values() if n.kind == "scores"} for plan in (few, more)]
    assert scores[0] != scores[1]


if __name__ == "__main__":
    PINNED.write_text(json.dumps(keys(), indent=1) + "\n")
