"""A run says of a discriminator whose gradient is texture that it can hardly be followed, and nothing of others."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from drlbench.run.entries import rough_rewards


def test_only_a_rough_reward_is_told() -> None:
    reports: dict[str, dict[str, Any]] = {
        "rough": {"report": {"gradient_cosine": 0.316}},
        "smooth": {"report": {"gradient_cosine": 0.98}},
        "older": {"report": {"auc": 0.9}},
        "published": {},
    }
    nodes = {name: SimpleNamespace(kind="reward", label=f"reward {name}") for name in reports}
    nodes["model"] = SimpleNamespace(kind="finetune", label="am")
    reader = SimpleNamespace(described=lambda node: reports[node.label.removeprefix("reward ")])
    told = rough_rewards(cast(Any, SimpleNamespace(nodes=nodes)), cast(Any, reader))
    assert [text.partition(",")[0] for text in told] == [
        "reward rough: its gradient turns within 4 grey levels of noise (cosine 0.32)"
    ]
